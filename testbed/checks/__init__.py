"""What checks the code of the change: the platform's gates, imports, mutation, and tests in company."""
