"""Which mesh, sharding and remat policy suit a TPU slice, without a TPU."""
