"""stub"""
from pathlib import Path
from podium.registry.outcome import Outcome
def shows(path: Path, files: str) -> bool:
    """x"""
    return path.is_file()
def write(outcome: Outcome) -> None:
    """x"""
    outcome.layout.report.write_text("x")
