//! Draws and their propensities.
