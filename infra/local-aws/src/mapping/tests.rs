//! The event source over the real queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::gateway::Invocation;
use crate::sqs::QueueCounts;
use crate::{LocalAws, State};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const QUEUE: &str = "work";
const DEAD: &str = "work-dead";

/// Queues whose messages are hidden for 30 seconds and given up after two receives. Their clock stands still.
fn queues() -> (Sqs, ManualClock) {
    let clock = ManualClock::new(1_795_232_439_000);
    let sqs = LocalAws::open_with_clock(State::Ephemeral, Clock::Manual(clock.clone())).unwrap().sqs().clone();
    create(&sqs);
    (sqs, clock)
}

fn create(sqs: &Sqs) {
    sqs.create_queue_if_missing(DEAD, &BTreeMap::new()).unwrap();
    let redrive = json!({ "deadLetterTargetArn": sqs.queue_arn(DEAD), "maxReceiveCount": 2 }).to_string();
    let attributes =
        [("VisibilityTimeout", "30"), ("RedrivePolicy", &redrive)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    sqs.create_queue_if_missing(QUEUE, &attributes.into()).unwrap();
}

async fn send(sqs: &Sqs, bodies: &[&str]) {
    for body in bodies {
        sqs.send(QUEUE, body, Duration::ZERO).await.unwrap();
    }
}

fn counts(visible: u64, in_flight: u64) -> QueueCounts {
    QueueCounts { visible, in_flight, delayed: 0 }
}

/// A function made of what it does with an event.
fn function(
    timeout: Duration,
    act: impl Fn(Value) -> BoxFuture<'static, Result<Vec<u8>, InvokeError>> + Send + Sync + 'static,
) -> Function {
    Function::new(
        Arc::new(move |invocation: Invocation| act(serde_json::from_slice(&invocation.payload).unwrap())),
        timeout,
    )
}

/// A function that only answers, and what it was asked.
fn answering(
    answer: impl Fn(&Value) -> Result<Value, InvokeError> + Send + Sync + 'static,
) -> (Function, mpsc::UnboundedReceiver<Value>) {
    let (asked, events) = mpsc::unbounded_channel();
    let function = function(PATIENCE, move |event| {
        let answer = answer(&event).map(|answer| answer.to_string().into_bytes());
        // Not every test looks at the events.
        let _unread = asked.send(event);
        Box::pin(async move { answer })
    });
    (function, events)
}

/// A function that says when it starts and ends when it is let go.
fn waiting() -> (Function, mpsc::UnboundedReceiver<Value>, Arc<Notify>) {
    let (asked, events) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let function = function(PATIENCE, move |event| {
        let (asked, held) = (asked.clone(), Arc::clone(&held));
        Box::pin(async move {
            asked.send(event).unwrap();
            held.notified().await;
            Ok(b"null".to_vec())
        })
    });
    (function, events, go)
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<usize>,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Running {
    async fn notice(&mut self) -> Notice {
        tokio::time::timeout(PATIENCE, self.notices.recv()).await.unwrap().unwrap()
    }

    async fn report(&mut self) -> BatchReport {
        match self.notice().await {
            Notice::Batch(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Reports until so many messages were invoked.
    async fn reports(&mut self, messages: usize) -> Vec<BatchReport> {
        let mut reports = Vec::<BatchReport>::new();
        while reports.iter().map(|report| report.messages).sum::<usize>() < messages {
            reports.push(self.report().await);
        }
        reports
    }

    /// Stops the mapping and says how many invocations were cut.
    async fn stopped(self) -> usize {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.ended).await.unwrap().unwrap()
    }
}

fn start(sqs: &Sqs, function: Function, configure: impl FnOnce(&mut MappingConfig)) -> Running {
    let mut config = MappingConfig::new(QUEUE);
    configure(&mut config);
    let (stop, stopped) = oneshot::channel();
    let (notice, notices) = mpsc::unbounded_channel();
    let mapping = Mapping::new(sqs.clone(), function, config).unwrap();
    // A test that is over no longer listens.
    let mapping = mapping.notices(Arc::new(move |said| drop(notice.send(said.clone()))));
    Running { stop, ended: tokio::spawn(mapping.run(async { drop(stopped.await) })), notices }
}

fn partial(config: &mut MappingConfig) {
    config.report_batch_item_failures = true;
}

fn bodies(event: &Value) -> Vec<&str> {
    event["Records"].as_array().unwrap().iter().map(|record| record["body"].as_str().unwrap()).collect()
}

/// An answer by which the messages with this body failed.
fn failing(event: &Value, body: &str) -> Value {
    let failed = event["Records"].as_array().unwrap().iter().filter(|record| record["body"] == body);
    json!({ "batchItemFailures": failed.map(|record| json!({ "itemIdentifier": record["messageId"] })).collect::<Vec<_>>() })
}

#[tokio::test]
async fn messages_become_one_event_and_are_deleted_when_the_function_has_answered() {
    let (sqs, _clock) = queues();
    let id = sqs.send(QUEUE, "one \"quoted\"", Duration::ZERO).await.unwrap();
    send(&sqs, &["two"]).await;
    let (function, mut events) = answering(|_| Ok(Value::Null));
    let mut running = start(&sqs, function, |_| {});
    let report = running.report().await;
    assert_eq!((report.messages, report.failed, report.outcome), (2, 0, BatchOutcome::Answered));
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 0));

    let mut event = events.recv().await.unwrap();
    let first = &mut event["Records"][0];
    assert!(first["receiptHandle"].as_str().is_some_and(|handle| !handle.is_empty()));
    assert_eq!(first["attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(first["attributes"]["SentTimestamp"], "1795232439000");
    first.as_object_mut().unwrap().retain(|field, _| field != "receiptHandle" && field != "attributes");
    let expected = json!({
        "messageId": id,
        "body": "one \"quoted\"",
        "messageAttributes": {},
        "md5OfBody": "dcf95ec19c49a322902fdab33e94cde1",
        "eventSource": "aws:sqs",
        "eventSourceARN": sqs.queue_arn(QUEUE),
        "awsRegion": "us-east-1",
    });
    assert_eq!(*first, expected);
    assert_eq!(bodies(&event), ["one \"quoted\"", "two"]);
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn only_what_succeeded_is_deleted_when_the_answer_names_what_failed() {
    let (sqs, clock) = queues();
    send(&sqs, &["good", "bad", "better"]).await;
    let (function, mut events) = answering(|event| Ok(failing(event, "bad")));
    let mut running = start(&sqs, function, partial);
    let report = running.report().await;
    assert_eq!((report.messages, report.failed, report.outcome), (3, 1, BatchOutcome::Answered));
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 1));
    assert_eq!(bodies(&events.recv().await.unwrap()), ["good", "bad", "better"]);

    // It comes again when the queue's visibility timeout is over, and for the last time: then it is given up.
    clock.advance(Duration::from_secs(30));
    let report = running.report().await;
    assert_eq!((report.messages, report.failed), (1, 1));
    let again = events.recv().await.unwrap();
    assert_eq!(again["Records"][0]["attributes"]["ApproximateReceiveCount"], "2");
    clock.advance(Duration::from_secs(30));
    wait_until(|| sqs.counts(DEAD).unwrap() == counts(1, 0)).await;
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 0));
    assert_eq!(running.stopped().await, 0);
}

/// For what no channel announces.
async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn the_whole_batch_stays_when_the_function_did_not_deal_with_it() {
    let endless = || function(Duration::from_millis(30), |_| Box::pin(std::future::pending()));
    let panicking = || function(PATIENCE, |_| panic!("as the test wants"));
    let answer = |answer: Value| answering(move |_| Ok(answer.clone())).0;
    let failed = |text: &str| BatchOutcome::Invocation(InvokeError::Failed(text.to_owned()));
    let error = answering(|_| Err(InvokeError::Failed("error".to_owned()))).0;
    let unknown = |event: &Value| {
        let mut answer = failing(event, "bad");
        answer["batchItemFailures"].as_array_mut().unwrap().push(json!({ "itemIdentifier": "of-no-message" }));
        Ok(answer)
    };
    let cases = [
        (error, failed("error")),
        (panicking(), failed("it panicked")),
        (endless(), BatchOutcome::Invocation(InvokeError::TimedOut)),
        (answering(unknown).0, BatchOutcome::Malformed(AnswerFault::UnknownIdentifier)),
        (answer(json!({ "batchItemFailures": 1 })), BatchOutcome::Malformed(AnswerFault::NotAList)),
        (answer(json!("done")), BatchOutcome::Malformed(AnswerFault::NotAnObject)),
    ];
    for (function, outcome) in cases {
        let (sqs, _clock) = queues();
        send(&sqs, &["good", "bad"]).await;
        let mut running = start(&sqs, function, partial);
        let report = running.report().await;
        assert_eq!((report.messages, report.failed, &report.outcome), (2, 2, &outcome));
        assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 2), "{outcome:?}");
        assert_eq!(running.stopped().await, 0);
    }
}

#[tokio::test]
async fn without_partial_answers_any_answer_means_success() {
    let (sqs, _clock) = queues();
    send(&sqs, &["bad"]).await;
    let (function, _events) = answering(|event| Ok(failing(event, "bad")));
    let mut running = start(&sqs, function, |_| {});
    assert_eq!(running.report().await.failed, 0);
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 0));
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn a_failing_batch_does_not_keep_others_from_being_done() {
    let (sqs, _clock) = queues();
    send(&sqs, &["a", "panic", "b", "c"]).await;
    let function = function(PATIENCE, |event| {
        assert!(bodies(&event) != ["panic"], "as the test wants");
        Box::pin(async { Ok(b"{}".to_vec()) })
    });
    let mut running = start(&sqs, function, |config| config.batch_size = 1);
    let reports = running.reports(4).await;
    assert_eq!(reports.iter().map(|report| report.failed).sum::<usize>(), 1);
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 1));
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn no_more_invocations_run_at_a_time_than_allowed_and_no_message_waits_for_one_hidden() {
    let (sqs, _clock) = queues();
    send(&sqs, &["1", "2", "3", "4", "5"]).await;
    let (inner, mut events, go) = waiting();
    let (running_now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&running_now), Arc::clone(&most));
    let counted = function(PATIENCE, move |event| {
        let (inner, now, peak) = (inner.clone(), Arc::clone(&now), Arc::clone(&peak));
        Box::pin(async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let answer = inner.call(event.to_string().into_bytes(), String::new(), SystemTime::now()).await;
            now.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    });
    let mut running = start(&sqs, counted, |config| (config.batch_size, config.maximum_concurrency) = (1, 2));
    for _ in 0..2 {
        events.recv().await.unwrap();
    }
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(3, 2));
    for _ in 0..3 {
        go.notify_one();
        events.recv().await.unwrap();
    }
    go.notify_one();
    running.reports(4).await;
    go.notify_one();
    running.reports(1).await;
    assert_eq!((most.load(Ordering::SeqCst), sqs.counts(QUEUE).unwrap()), (2, counts(0, 0)));
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn a_window_waits_until_the_batch_is_full() {
    let (sqs, _clock) = queues();
    let (function, mut events) = answering(|_| Ok(Value::Null));
    let mut running =
        start(&sqs, function, |config| (config.batch_size, config.batching_window) = (3, Duration::from_secs(300)));
    for body in ["1", "2", "3"] {
        send(&sqs, &[body]).await;
        // Taken, and held back until there are three.
        wait_until(|| sqs.counts(QUEUE).unwrap().visible == 0).await;
    }
    assert_eq!(running.report().await.messages, 3);
    assert_eq!(bodies(&events.recv().await.unwrap()), ["1", "2", "3"]);
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn a_window_that_is_over_lets_a_smaller_batch_go() {
    let sqs = LocalAws::open(State::Ephemeral).unwrap().sqs().clone();
    create(&sqs);
    send(&sqs, &["alone"]).await;
    let (function, _events) = answering(|_| Ok(Value::Null));
    let mut running = start(&sqs, function, |config| config.batching_window = Duration::from_millis(50));
    assert_eq!(running.report().await.messages, 1);
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn a_batch_over_the_payload_quota_becomes_several_events() {
    let (sqs, _clock) = queues();
    let large = "x".repeat(1_000_000);
    send(&sqs, &[large.as_str(); 10]).await;
    let (function, _events) = answering(|_| Ok(Value::Null));
    let mut running = start(&sqs, function, |_| {});
    let mut sizes: Vec<_> = running.reports(10).await.iter().map(|report| report.messages).collect();
    sizes.sort_unstable();
    assert_eq!((sizes, sqs.counts(QUEUE).unwrap()), (vec![4, 6], counts(0, 0)));
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn a_shutdown_lets_running_invocations_end_and_receives_no_more() {
    let (sqs, _clock) = queues();
    send(&sqs, &["1", "2", "too late"]).await;
    let (function, mut events, go) = waiting();
    let Running { stop, ended, mut notices } =
        start(&sqs, function, |config| (config.batch_size, config.maximum_concurrency) = (1, 2));
    for _ in 0..2 {
        events.recv().await.unwrap();
    }
    stop.send(()).unwrap();
    // Sending these takes longer than a mapping would last that does not wait for its invocations.
    send(&sqs, &["too late"; 100]).await;
    assert!(!ended.is_finished());
    for _ in 0..2 {
        go.notify_one();
        assert!(matches!(notices.recv().await, Some(Notice::Batch(report)) if report.failed == 0));
    }
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap(), 0);
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(101, 0));
}

#[tokio::test]
async fn a_shutdown_of_an_idle_mapping_does_not_wait_for_its_poll() {
    let (sqs, _clock) = queues();
    let (function, _events) = answering(|_| Ok(Value::Null));
    let running = start(&sqs, function, |_| {});
    let started = Instant::now();
    assert_eq!(running.stopped().await, 0);
    assert!(started.elapsed() < LONGEST_POLL / 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_shutdown_invokes_what_it_had_taken_for_a_batch() {
    let (sqs, _clock) = queues();
    let (function, mut events) = answering(|_| Ok(Value::Null));
    let running = start(&sqs, function, |config| config.batching_window = Duration::from_secs(300));
    send(&sqs, &["taken"]).await;
    wait_until(|| sqs.counts(QUEUE).unwrap() == counts(0, 1)).await;
    assert_eq!(running.stopped().await, 0);
    assert_eq!(bodies(&events.recv().await.unwrap()), ["taken"]);
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 0));
}

#[tokio::test]
async fn a_shutdown_stops_an_invocation_that_does_not_end_and_its_messages_come_again() {
    let (sqs, clock) = queues();
    send(&sqs, &["stuck"]).await;
    let (function, mut events, _go) = waiting();
    let running = start(&sqs, function, |config| config.drain_time = Duration::from_millis(30));
    events.recv().await.unwrap();
    assert_eq!(running.stopped().await, 1);
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(0, 1));
    clock.advance(Duration::from_secs(30));
    assert_eq!(sqs.counts(QUEUE).unwrap(), counts(1, 0));
}

/// One call of the SQS API over HTTP, for what the queues' Rust interface does not offer.
async fn call(aws: &LocalAws, operation: &str, input: Value) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let no_pages =
        |_| -> BoxFuture<'static, http::Response<bytes::Bytes>> { Box::pin(async { http::Response::default() }) };
    let served = tokio::spawn(aws.clone().serve(listener, no_pages, async { drop(stopped.await) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let input = input.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nx-amz-target: AmazonSQS.{operation}\r\ncontent-length: {}\r\n\r\n{input}",
        input.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    drop((stream, stop));
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_queue_that_goes_away_is_reported_and_used_again_when_it_is_back() {
    let aws = LocalAws::open(State::Ephemeral).unwrap();
    let sqs = aws.sqs().clone();
    create(&sqs);
    send(&sqs, &["kept from deletion"]).await;
    let (function, mut events, go) = waiting();
    let mut running = start(&sqs, function, |_| {});
    events.recv().await.unwrap();
    call(&aws, "DeleteQueue", json!({ "QueueUrl": sqs.queue_url(QUEUE) })).await;
    assert!(matches!(running.notice().await, Notice::ReceiveFailed(SqsError::QueueDoesNotExist(_))));
    go.notify_one();
    loop {
        match running.notice().await {
            Notice::ReceiveFailed(_) => {}
            Notice::DeleteFailed { messages, error, .. } => {
                assert_eq!((messages, error), (1, SqsError::QueueDoesNotExist(QUEUE.to_owned())));
                break;
            }
            Notice::Batch(report) => panic!("{report:?}"),
        }
    }
    assert_eq!(running.report().await.failed, 0);
    create(&sqs);
    send(&sqs, &["after"]).await;
    assert_eq!(bodies(&events.recv().await.unwrap()), ["after"]);
    go.notify_one();
    assert_eq!(running.stopped().await, 0);
}

#[tokio::test]
async fn settings_outside_awss_ranges_and_queues_that_cannot_be_mapped_are_refused() {
    type Configure = fn(&mut MappingConfig);
    let (sqs, _clock) = queues();
    let make = |configure: Configure| {
        let mut config = MappingConfig::new(QUEUE);
        configure(&mut config);
        Mapping::new(sqs.clone(), answering(|_| Ok(Value::Null)).0, config).map(|_| ()).unwrap_err()
    };
    let out_of_range: [(Configure, &str); 5] = [
        (|config| config.batch_size = 0, "INVALID_MAPPING: BatchSize is 0, it must be 1 to 10"),
        (|config| config.batch_size = 11, "INVALID_MAPPING: BatchSize is 11, it must be 1 to 10"),
        (|config| config.maximum_concurrency = 1, "INVALID_MAPPING: MaximumConcurrency is 1, it must be 2 to 1000"),
        (
            |config| config.maximum_concurrency = 1001,
            "INVALID_MAPPING: MaximumConcurrency is 1001, it must be 2 to 1000",
        ),
        (
            |config| config.batching_window = Duration::from_secs(301),
            "INVALID_MAPPING: MaximumBatchingWindowInSeconds is 301 s, it must be 0 to 300 s",
        ),
    ];
    for (configure, expected) in out_of_range {
        assert_eq!(make(configure).to_string(), expected);
    }
    assert!(matches!(make(|config| config.queue = "work.fifo".to_owned()), MappingError::Fifo(_)));
    assert!(matches!(
        make(|config| config.queue = "nothing".to_owned()),
        MappingError::Queue(SqsError::QueueDoesNotExist(_))
    ));
}

#[test]
fn the_pause_after_failures_grows_to_five_seconds() {
    let pauses: Vec<_> = [1, 2, 3, 6, 7, u32::MAX].into_iter().map(|failures| pause(failures).as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 3200, 5000, 5000]);
}
