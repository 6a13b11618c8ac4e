//! Executes circuits on integers and proves executions.
