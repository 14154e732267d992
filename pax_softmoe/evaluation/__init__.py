"""What is done with a trained model: inference, export, few-shot, pictures."""
