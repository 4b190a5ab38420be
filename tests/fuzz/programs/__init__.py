"""Programs that stand for what cannot run here, or serve every type there is."""
