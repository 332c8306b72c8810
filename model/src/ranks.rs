//! Processes that work together on one run: ranks of MPI (feature `mpi`), started by `mpirun` or `srun`. Every rank runs the same program
//! on the same data. Work on items is shared, and all ranks receive all results, in the order of the items: whatever follows is the same in
//! each of them, and does not depend on how many there are.
//!
//! All functions but [`rank`] and [`ranks`] are collective: every rank calls them, on its main thread, in the same order. Without the feature, or
//! without a launcher, there is one rank, and nothing is sent.

use anyhow::{Result, ensure};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Number of this process, and of all processes. Set once, at the start.
static RANK: AtomicUsize = AtomicUsize::new(0);
static RANKS: AtomicUsize = AtomicUsize::new(1);

/// Whether the first rank works alone for the moment ([`from_first`]).
static BY_ITSELF: AtomicBool = AtomicBool::new(false);

/// The connection to the other ranks, for as long as it lives.
pub struct Joined {
    #[cfg(feature = "mpi")]
    _universe: mpi::environment::Universe,
}

/// Joins the ranks that a launcher has started; `None` where this process works by itself. To be called once, first of all.
///
/// # Errors
/// A program that was built with the library of another launcher: each of its processes would take itself for the only one.
pub fn join() -> Result<Option<Joined>> {
    // What Open MPI, MPICH and Slurm set for the processes that they start.
    let started = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    let is_launched = started.is_some() || std::env::var_os("PMIX_RANK").is_some();
    #[cfg(feature = "mpi")]
    {
        if !is_launched {
            return Ok(None);
        }
        let Some((universe, _)) = mpi::initialize_with_threading(mpi::Threading::Funneled) else { return Ok(None) };
        let (rank, ranks) = transport::place();
        ensure!(
            started.is_none_or(|started: usize| started == ranks),
            "the launcher has started {} processes, and MPI knows of {ranks}: the program was built with the library of another launcher",
            started.unwrap_or_default()
        );
        RANK.store(rank, Ordering::Relaxed);
        RANKS.store(ranks, Ordering::Relaxed);
        Ok(Some(Joined { _universe: universe }))
    }
    #[cfg(not(feature = "mpi"))]
    {
        ensure!(
            !is_launched || started.is_none_or(|started: usize| started == 1),
            "a launcher has started several processes, and the program was built without the feature mpi: each would be a run of its own"
        );
        Ok(None)
    }
}

/// The number of this process, from 0.
pub fn rank() -> usize {
    if BY_ITSELF.load(Ordering::Relaxed) { 0 } else { RANK.load(Ordering::Relaxed) }
}

/// How many processes work together; 1 without MPI.
pub fn ranks() -> usize {
    if BY_ITSELF.load(Ordering::Relaxed) { 1 } else { RANKS.load(Ordering::Relaxed) }
}

/// Whether this is the rank that writes files and prints.
pub fn is_first() -> bool {
    rank() == 0
}

/// The number of this process among those of its machine, by which it chooses a GPU; 0 without a launcher.
pub fn local_rank() -> usize {
    let of_launcher = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];
    let set = of_launcher.iter().filter_map(|name| std::env::var(name).ok()?.parse().ok());
    set.take(usize::from(RANKS.load(Ordering::Relaxed) > 1)).next().unwrap_or(0)
}

/// What each rank has made, by rank.
///
/// # Panics
/// If it is more than MPI can count, 2 GiB in all.
pub fn gather<R: Serialize + DeserializeOwned>(mine: R) -> Vec<R> {
    if ranks() == 1 {
        return vec![mine];
    }
    let bytes = postcard::to_stdvec(&mine).expect("results are plain data");
    arrive();
    transport::all_gather(&bytes).iter().map(|bytes| postcard::from_bytes(bytes).expect(SAME_PROGRAM)).collect()
}

/// What the first rank makes, while the others wait for it. It makes it by itself, as if there were no other rank.
pub fn from_first<R: Serialize + DeserializeOwned>(make: impl FnOnce() -> R) -> R {
    if ranks() == 1 {
        return make();
    }
    let made = is_first().then(|| {
        BY_ITSELF.store(true, Ordering::Relaxed);
        let made = make();
        BY_ITSELF.store(false, Ordering::Relaxed);
        made
    });
    let mut bytes =
        made.as_ref().map_or_else(Vec::new, |made| postcard::to_stdvec(made).expect("results are plain data"));
    transport::broadcast(&mut bytes, 0);
    made.unwrap_or_else(|| postcard::from_bytes(&bytes).expect(SAME_PROGRAM))
}

/// Whether it is true of any rank.
pub fn any(here: bool) -> bool {
    gather(here).contains(&true)
}

/// Ends all ranks at once, for a rank that cannot go on.
pub fn abort() {
    if RANKS.load(Ordering::Relaxed) > 1 {
        transport::abort();
    }
}

/// Takes part in a sum over items that is taken in the order of the items, whichever ranks hold them, as one process takes it. `order` are
/// the ranks in the order of their items. Each adds its own, in their order, to what the ranks before it have summed, and passes it on slice
/// by slice, so that all are busy. `sum` is what the first of them begins with; the last one has the whole sum then, the others a part of it.
///
/// # Panics
/// If items differ in their lengths.
pub fn add_in_order(sum: &mut [f32], items: &[Vec<f32>], order: &[usize]) {
    let Some(place) = order.iter().position(|other| *other == rank()) else { return };
    assert!(items.iter().all(|item| item.len() == sum.len()), "items of a sum have one length");
    for first in (0..sum.len()).step_by(SLICE) {
        let range = first..sum.len().min(first + SLICE);
        let slice = &mut sum[range.clone()];
        if place > 0 {
            // Who is near the beginning notices first.
            let patience = timeout() + timeout() * place as u32 / 4;
            wait_for(vec![order[place - 1]], patience, transport::has_sent);
            transport::receive(slice, order[place - 1]);
        }
        for item in items {
            slice.iter_mut().zip(&item[range.clone()]).for_each(|(sum, value)| *sum += value);
        }
        if let Some(next) = order.get(place + 1) {
            transport::send(slice, *next);
        }
    }
}

/// Gives all ranks what one of them has.
pub fn broadcast(values: &mut [f32], from: usize) {
    if ranks() > 1 {
        arrive();
        values.chunks_mut(SLICE).for_each(|slice| transport::broadcast_values(slice, from));
    }
}

/// Waits until all ranks have come to where they work together, and names those that do not come. Without it, a process that hangs would let
/// all others wait for ever and in silence. The first rank waits for all others, and they for its word.
fn arrive() {
    if is_first() {
        let others: Vec<usize> = (1..ranks()).collect();
        wait_for(others.clone(), timeout(), transport::has_notified);
        others.iter().for_each(|rank| transport::notify(*rank));
    } else {
        transport::notify(0);
        // The first rank notices others that hang before this one takes it for hung.
        wait_for(vec![0], timeout() + timeout() / 2, transport::has_notified);
    }
}

/// Waits until each of these ranks has come; ends the job after `timeout`.
fn wait_for(mut missing: Vec<usize>, timeout: Duration, has_come: impl Fn(usize) -> bool) {
    let started = Instant::now();
    let mut warn_at = WARN_AFTER.min(timeout / 2);
    loop {
        missing.retain(|rank| !has_come(*rank));
        let waited = started.elapsed();
        if missing.is_empty() {
            return;
        }
        if waited > timeout {
            let seconds = waited.as_secs();
            eprintln!(
                "error: ranks {missing:?} have not come for {seconds} s, and are taken for hung ({TIMEOUT} sets how long); --resume goes on"
            );
            abort();
        }
        if waited > warn_at {
            tracing::warn!("waiting for ranks {missing:?} for {} s", waited.as_secs());
            warn_at *= 2;
        }
        // In the first moments the others are about to come.
        if waited > Duration::from_millis(1) {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// How long the first rank waits for others.
fn timeout() -> Duration {
    let seconds = std::env::var(TIMEOUT).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1800))
}

/// The environment variable that sets for how many seconds the first rank waits for others before it ends the job.
const TIMEOUT: &str = "RL_RANK_TIMEOUT";

const WARN_AFTER: Duration = Duration::from_secs(60);

/// Numbers sent at once.
const SLICE: usize = 1 << 18;

const SAME_PROGRAM: &str = "all ranks run the same program";

#[cfg(feature = "mpi")]
mod transport {
    //! The calls of MPI.

    use mpi::{datatype::PartitionMut, topology::SimpleCommunicator, traits::*};

    fn world() -> SimpleCommunicator {
        SimpleCommunicator::world()
    }

    pub fn place() -> (usize, usize) {
        (world().rank() as usize, world().size() as usize)
    }

    pub fn all_gather(mine: &[u8]) -> Vec<Vec<u8>> {
        let world = world();
        let mut counts = vec![0u64; world.size() as usize];
        world.all_gather_into(&(mine.len() as u64), &mut counts[..]);
        let total: u64 = counts.iter().sum();
        assert!(total < i32::MAX as u64, "ranks have {total} bytes to exchange at once, more than MPI can count");
        if total == 0 {
            return vec![Vec::new(); counts.len()];
        }
        let counts: Vec<i32> = counts.into_iter().map(|count| count as i32).collect();
        let places: Vec<i32> = counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
        let mut all = vec![0u8; total as usize];
        world.all_gather_varcount_into(mine, &mut PartitionMut::new(&mut all[..], counts.clone(), &places[..]));
        places
            .iter()
            .zip(counts)
            .map(|(place, count)| all[*place as usize..(place + count) as usize].to_vec())
            .collect()
    }

    pub fn broadcast(bytes: &mut Vec<u8>, from: usize) {
        let root = world().process_at_rank(from as i32).rank();
        let (world, mut length) = (world(), bytes.len() as u64);
        world.process_at_rank(root).broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for part in bytes.chunks_mut(1 << 30) {
            world.process_at_rank(root).broadcast_into(part);
        }
    }

    pub fn broadcast_values(values: &mut [f32], from: usize) {
        world().process_at_rank(from as i32).broadcast_into(values);
    }

    pub fn send(values: &[f32], to: usize) {
        world().process_at_rank(to as i32).send_with_tag(values, SLICE_OF_SUM);
    }

    pub fn has_sent(from: usize) -> bool {
        world().process_at_rank(from as i32).immediate_probe_with_tag(SLICE_OF_SUM).is_some()
    }

    pub fn receive(values: &mut [f32], from: usize) {
        world().process_at_rank(from as i32).receive_into_with_tag(values, SLICE_OF_SUM);
    }

    /// Of messages that hold a part of a sum.
    const SLICE_OF_SUM: i32 = 2;

    /// Of messages that say no more than that their rank has come.
    const WORD: i32 = 1;

    pub fn notify(rank: usize) {
        world().process_at_rank(rank as i32).send_with_tag(&0u8, WORD);
    }

    pub fn has_notified(rank: usize) -> bool {
        let world = world();
        let process = world.process_at_rank(rank as i32);
        process.immediate_probe_with_tag(WORD).is_some_and(|_| {
            let _: (u8, _) = process.receive_with_tag(WORD);
            true
        })
    }

    pub fn abort() -> ! {
        world().abort(1)
    }
}

#[cfg(not(feature = "mpi"))]
mod transport {
    //! Never called: there is one rank.

    const ONE: &str = "there is one rank without the feature mpi";

    pub fn all_gather(_: &[u8]) -> Vec<Vec<u8>> {
        unreachable!("{ONE}")
    }

    pub fn broadcast(_: &mut Vec<u8>, _: usize) {
        unreachable!("{ONE}")
    }

    pub fn broadcast_values(_: &mut [f32], _: usize) {
        unreachable!("{ONE}")
    }

    pub fn send(_: &[f32], _: usize) {
        unreachable!("{ONE}")
    }

    pub fn has_sent(_: usize) -> bool {
        unreachable!("{ONE}")
    }

    pub fn receive(_: &mut [f32], _: usize) {
        unreachable!("{ONE}")
    }

    pub fn notify(_: usize) {
        unreachable!("{ONE}")
    }

    pub fn has_notified(_: usize) -> bool {
        unreachable!("{ONE}")
    }

    pub fn abort() {
        unreachable!("{ONE}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rank_has_all_and_a_sum_is_taken_in_the_order_of_its_items() {
        assert!(join().unwrap().is_none());
        assert_eq!((rank(), ranks(), is_first()), (0, 1, true));
        assert_eq!(gather(vec![1.5_f32, f32::INFINITY]), [vec![1.5, f32::INFINITY]]);
        assert_eq!((from_first(|| "made".to_string()), any(false), any(true)), ("made".to_string(), false, true));
        // In another order the small ones would be lost.
        let items = [1.0, 1.0, 1e8, -1e8].map(|value| vec![value; SLICE + 3]);
        let mut sum = vec![-0.0; SLICE + 3];
        add_in_order(&mut sum, &items, &[0]);
        assert_eq!(sum, vec![(1.0_f32 + 1.0 + 1e8) - 1e8; SLICE + 3]);
        let mut untouched = vec![7.0];
        add_in_order(&mut untouched, &[vec![1.0]], &[1, 2]);
        broadcast(&mut untouched, 0);
        assert_eq!(untouched, [7.0]);
    }
}
