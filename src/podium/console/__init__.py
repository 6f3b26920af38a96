"""What people see: terminal output, progress, pages, the outer shell of a stage. Nothing here changes a result."""
