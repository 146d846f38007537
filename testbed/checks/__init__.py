"""What checks the code of the change: the platform's gates, mutation, company and imports."""
