"""Names for people who do not exist, from several parts of the world."""

GIVEN = (
    "Aarav", "Aditi", "Akira", "Amara", "Amir", "Ananya", "Anna", "Arjun", "Asha", "Ayumi", "Björn", "Carlos",
    "Chidi", "Chloé", "Diya", "Elif", "Emeka", "Emma", "Esra", "Farah", "Fatima", "Femi", "Gita", "Hana", "Hassan",
    "Ines", "Ishaan", "Jamal", "Jonas", "José", "Kabir", "Kavya", "Kofi", "Kwame", "Lara", "Leila", "Lena", "Liam",
    "Linh", "Lucía", "Luka", "Maja", "Mateo", "Mei", "Meera", "Mina", "Nadia", "Naoki", "Neha", "Nia", "Noah",
    "Nour", "Olga", "Omar", "Oskar", "Pavel", "Pooja", "Priya", "Rahul", "Ravi", "Rosa", "Sakura", "Samira", "Sana",
    "Sofía", "Søren", "Tariq", "Tomás", "Uma", "Vera", "Vikram", "Wei", "Yara", "Yusuf", "Zainab", "Zoë",
)  # fmt: skip

FAMILY = (
    "Adeyemi", "Ahmed", "Andersson", "Bakker", "Banerjee", "Becker", "Bello", "Bose", "Castro", "Chen", "Chowdhury",
    "Costa", "Das", "Desai", "Dubois", "Eze", "Fernández", "Fischer", "García", "Ghosh", "Gupta", "Haddad", "Hansen",
    "Hoffmann", "Hossain", "Ivanova", "Iyer", "Jansen", "Joshi", "Kamau", "Kapoor", "Kaya", "Khan", "Kim", "Kimura",
    "Kowalski", "Kumar", "Lindqvist", "López", "Mehta", "Mensah", "Moreau", "Müller", "Mwangi", "Nair", "Nakamura",
    "Nguyen", "Novák", "Okafor", "Oliveira", "Patel", "Pereira", "Petrov", "Pillai", "Rahman", "Rao", "Reddy",
    "Rossi", "Saito", "Schmidt", "Sharma", "Silva", "Singh", "Sørensen", "Suzuki", "Tanaka", "Torres", "Tran",
    "Verma", "Wagner", "Wang", "Yıldız", "Zhang",
)  # fmt: skip

TAGS = ("boarder", "scholarship", "bus 4", "vegetarian", "swim team", "choir", "captain", "new")
