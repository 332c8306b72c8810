//! A client against real processes and a real server on this machine.

use super::*;
use crate::external::protocol::tests::items;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::AtomicUsize,
};

const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(10), batch: 2, in_flight: 3, retries: 2 };

fn command(text: &str, bounds: Bounds) -> RewardClient {
    RewardClient::start(Source::command(text), bounds).unwrap()
}

fn rewards(client: &RewardClient, count: usize) -> Result<Vec<f64>> {
    Ok(client.rewards(items(count))?.iter().map(|reward| reward.sum().unwrap()).collect())
}

fn failure(client: &RewardClient) -> String {
    let error = rewards(client, 3).unwrap_err();
    assert!(error.is::<RewardFailure>(), "{error}");
    error.to_string()
}

/// A shell's loop that answers each line by `answer`.
fn shell(answer: &str) -> String {
    format!("(while read -r line; do {answer}; done)")
}

/// A Python program that rewards each completion with the number in its problem's id, and does something more before it.
fn python(more: &str) -> String {
    format!(
        r#"python3 -c '
import json, os, sys, time
for count, line in enumerate(sys.stdin):
    batch = json.loads(line)
    rewards = [int(item["problem"].split("/")[1]) for item in batch["items"]]
    {more}
    print(json.dumps({{"id": batch["id"], "rewards": rewards}}), flush=True)
'"#
    )
}

#[test]
fn rewards_come_back_in_the_order_of_the_completions_whatever_order_they_are_handed_in() {
    let client = command(&python(""), BOUNDS);
    let phase = client.phase(7);
    std::thread::scope(|scope| {
        for (place, item) in items(7).into_iter().enumerate().rev() {
            let phase = &phase;
            scope.spawn(move || phase.put(place, item));
        }
    });
    let sums: Vec<Option<f64>> = phase.finish().unwrap().iter().map(Reward::sum).collect();
    assert_eq!(sums, (0..7).map(|id| Some(f64::from(id))).collect::<Vec<_>>());
    assert!(client.rewards([]).unwrap().is_empty());
}

#[test]
fn a_batch_holds_consecutive_completions_and_its_number_whatever_order_they_are_handed_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests");
    // The requests, sorted, are the same in both orders.
    let requests = |order: &[usize]| {
        let log = format!("tee -a {} | {}", file.display(), shell("echo '[1, 1]'"));
        let client = command(&log, Bounds { retries: 0, ..BOUNDS });
        let phase = client.phase(6);
        order.iter().for_each(|&place| phase.put(place, items(6).swap_remove(place)));
        phase.finish().unwrap();
        drop(client);
        let mut lines: Vec<String> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_string).collect();
        std::fs::remove_file(&file).unwrap();
        lines.sort();
        lines
    };
    let in_order = requests(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(in_order.len(), 3);
    assert_eq!(in_order, requests(&[5, 0, 3, 2, 4, 1]));
}

#[test]
fn batches_may_be_answered_in_any_order_by_their_number() {
    let hold = "held = globals().get(\"held\", []); held.append(json.dumps({\"id\": batch[\"id\"], \"rewards\": rewards}))
    if len(held) < 3: continue
    print(\"\\n\".join(held[:0:-1]), flush=True); batch[\"id\"], rewards = (lambda first: (first[\"id\"], first[\"rewards\"]))(json.loads(held[0]))";
    let client = command(&python(hold), BOUNDS);
    assert_eq!(rewards(&client, 6).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn a_child_that_ends_is_started_again_and_gets_the_same_batches() {
    // Each process answers one line and ends: the retries are counted for each batch, not for the run.
    let once = python("")
        .replace("for count, line in enumerate(sys.stdin):", "for count, line in [(0, sys.stdin.readline())]:");
    let client = command(&once, Bounds { in_flight: 1, ..BOUNDS });
    assert_eq!(rewards(&client, 12).unwrap(), (0..12).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn a_child_that_ends_at_every_attempt_is_one_error_with_its_status_and_the_completion() {
    let error = failure(&command("read -r line; exit 7", BOUNDS));
    assert!(
        error.contains("the reward command `read -r line; exit 7` ended (exit status: 7), asked 3 times for"),
        "{error}"
    );
    assert!(error.contains("2 completions, the first of them the completion of test/0 (\"#### 0\")"), "{error}");
    let error = failure(&command("no-such-program-here", BOUNDS));
    assert!(error.contains("cannot be run (ended (exit status: 127))"), "{error}");
    let killed = failure(&command(&python("os.kill(os.getpid(), 9)"), Bounds { retries: 0, ..BOUNDS }));
    assert!(killed.contains("asked once for"), "{killed}");
}

#[test]
fn a_child_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let hanging = format!("sleep 1000 & echo $! >> {0}; read -r line; wait", file.display());
    let bounds = Bounds { timeout: Duration::from_millis(200), retries: 1, ..BOUNDS };
    let started = Instant::now();
    let error = failure(&command(&hanging, bounds));
    assert!(error.contains("did not answer within 0.2 s, asked 2 times for"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.lines().count(), 2);
    if cfg!(target_os = "linux") {
        // A killed process that another one has still to wait for counts as gone.
        let is_running =
            |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
        let gone = || !pids.lines().any(is_running);
        while !gone() && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(gone());
    }
}

#[test]
fn a_child_ends_with_the_last_clone_of_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ended");
    let client = command(&format!("{}; echo > {}", shell("echo '[1, 1]'"), file.display()), BOUNDS);
    let other = client.clone();
    assert_eq!(rewards(&client, 2).unwrap(), [1.0, 1.0]);
    drop(client);
    assert!(!file.exists());
    assert_eq!(rewards(&other, 2).unwrap(), [1.0, 1.0]);
    drop(other);
    assert!(file.exists(), "its input was closed, and it was waited for");
}

#[test]
fn a_line_of_nonsense_is_one_error_at_once() {
    let error = failure(&command(&shell("echo Traceback: no rewards today"), BOUNDS));
    assert!(error.contains("what is no JSON") && error.contains("\"Traceback: no rewards today"), "{error}");
    assert!(error.contains("the completion of test/0"), "{error}");
    let error = failure(&command("echo loading; sleep 1000", BOUNDS));
    assert!(error.contains("\"loading") && error.contains("standard output is for answers alone"), "{error}");
    let error = failure(&command(&shell("echo '{\"id\": 99, \"rewards\": []}'"), BOUNDS));
    assert!(error.contains("answered batch 99, which is not waiting"), "{error}");
    let error = failure(&command(&shell("echo '[0.5, NaN]'"), BOUNDS));
    assert!(error.contains("answered with \"NaN\" for the completion of test/1 (\"#### 1\")"), "{error}");
}

#[test]
fn after_a_failure_a_client_gives_no_rewards() {
    let client = command(&shell("echo nonsense"), BOUNDS);
    assert_eq!(failure(&client), failure(&client));
}

/// A server on this machine that answers each request by its number and body; its address.
fn server(answer: impl Fn(usize, &str) -> Option<(u16, String)> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || converse(stream.unwrap(), &*answer, &count));
        }
    });
    format!("http://{address}/reward")
}

/// Answers a request by its number and body, with a status and a body; `None` hangs.
type Answer = dyn Fn(usize, &str) -> Option<(u16, String)>;

fn converse(stream: TcpStream, answer: &Answer, count: &AtomicUsize) {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let Some((status, text)) = answer(count.fetch_add(1, Ordering::SeqCst), &String::from_utf8(body).unwrap()) else {
        std::thread::sleep(Duration::from_secs(30));
        return;
    };
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    let _ = (&stream).write_all((head + &text).as_bytes());
}

/// The numbers in the ids of a request's problems.
fn numbers(request: &str) -> String {
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    let ids =
        request["items"].as_array().unwrap().iter().map(|item| item["problem"].as_str().unwrap()[5..].to_string());
    format!("[{}]", ids.collect::<Vec<_>>().join(","))
}

fn endpoint(url: &str, bounds: Bounds) -> RewardClient {
    RewardClient::start(Source::Url(url.into()), bounds).unwrap()
}

#[test]
fn an_endpoint_rewards_batches_as_a_command_does() {
    let url = server(|_, body| Some((200, format!("{{\"rewards\": {}}}", numbers(body)))));
    assert_eq!(rewards(&endpoint(&url, BOUNDS), 7).unwrap(), (0..7).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn an_error_of_the_server_is_asked_again_and_one_of_the_request_is_not() {
    let url = server(|count, body| Some(if count == 0 { (503, "busy".into()) } else { (200, numbers(body)) }));
    assert_eq!(rewards(&endpoint(&url, BOUNDS), 4).unwrap(), [0.0, 1.0, 2.0, 3.0]);
    let error = failure(&endpoint(&server(|_, _| Some((500, "out of memory".into()))), BOUNDS));
    assert!(
        error.contains("answered with status 500") && error.contains("\"out of memory\", asked 3 times for"),
        "{error}"
    );
    let error = failure(&endpoint(&server(|_, _| Some((404, "no such page".into()))), BOUNDS));
    assert!(
        error.contains("answered with status 404") && error.contains("\"no such page\", asked once for"),
        "{error}"
    );
    assert!(error.contains("the completion of test/"), "{error}");
}

#[test]
fn a_server_that_hangs_is_one_error_after_the_time_limit() {
    let bounds = Bounds { timeout: Duration::from_millis(200), retries: 1, ..BOUNDS };
    let error = failure(&endpoint(&server(|_, _| None), bounds));
    assert!(error.contains("did not answer within 0.2 s, asked 2 times for"), "{error}");
    assert!(error.contains("the reward endpoint http://127.0.0.1"), "{error}");
}

#[test]
fn a_server_that_is_not_there_or_answers_nonsense_is_one_error() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(&endpoint(&format!("http://{gone}/"), Bounds { retries: 0, ..BOUNDS }));
    assert!(error.contains("cannot be reached ("), "{error}");
    let error = failure(&endpoint(&server(|_, _| Some((200, "<html>".into()))), BOUNDS));
    assert!(error.contains("what is no JSON") && error.contains("\"<html>\""), "{error}");
}

#[test]
fn no_more_requests_than_allowed_are_under_way_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (Arc::clone(&now), Arc::clone(&most));
    let url = server(move |_, body| {
        seen.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        counted.fetch_sub(1, Ordering::SeqCst);
        Some((200, numbers(body)))
    });
    rewards(&endpoint(&url, BOUNDS), 24).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}
