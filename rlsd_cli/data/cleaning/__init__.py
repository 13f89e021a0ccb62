"""Files of problems made ready: repeats, contradictions and contamination found, every row accounted for."""
