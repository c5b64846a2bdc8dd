"""Rate limits: per signed-in caller in the request's one Redis call, and per endpoint by name."""
