"""Where the project lies: the folder that holds sql/, profiles/, assets/ and models_py/."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
