"""The model card of a bundle: `MODEL_CARD.md`, in the form of the Hugging Face Hub."""
