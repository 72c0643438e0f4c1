"""Files in S3, Google Cloud Storage and Azure Blob Storage. `storage.py` is the way in."""
