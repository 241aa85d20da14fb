"""The model or dataset card: made from facts, around what people wrote."""
