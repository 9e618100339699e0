"""The archive format: parts to bytes and back, bounded, counted, checksummed (docs/adr/0009).

It knows neither SQL nor what the parts mean, and never writes a file. What it reads may come from
anybody: whatever is not exactly what the writer writes is refused.
"""
