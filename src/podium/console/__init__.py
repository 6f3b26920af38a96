"""What people see while something runs: terminal, progress, logs, the shell of a stage. It changes no result."""
