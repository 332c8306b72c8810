//! Training: batches, gradients, the optimiser, adapters, and the one supervised loop. Independent of the algorithms.

pub mod adapters;
pub mod batch;
pub mod dry_run;
pub mod optim;
pub mod order;
pub mod resume;
pub mod supervised;
