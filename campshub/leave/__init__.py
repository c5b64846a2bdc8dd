"""Leave: requests to excuse a student's absences, decided by staff."""
