"""Real models, real data and the measures by which a quantized model is judged."""
