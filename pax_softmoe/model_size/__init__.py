"""What a model is before it is computed: parameters, FLOPs, places of arrays."""
