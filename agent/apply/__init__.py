"""Files on the guest: templates become placements, and the placer makes the guest look so."""
