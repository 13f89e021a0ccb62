"""What runs found: comparisons with intervals, pages, tables; read from what runs wrote, without a model."""
