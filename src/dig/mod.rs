//! The client of the Data Intake Gateway.
