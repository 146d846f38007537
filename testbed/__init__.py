"""What the change is tried on, and checked with: everything that will not be merged into the platform."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
