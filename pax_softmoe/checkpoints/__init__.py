"""Reading Pax checkpoints without the job that wrote them."""
