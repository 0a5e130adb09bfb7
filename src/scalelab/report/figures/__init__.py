"""The figures: one folder each (see `report.figure`), and one entry in `report.registry`."""
