use crate::TraceContext;
use proptest::prelude::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn a_traceparent_is_read_as_the_specification_says() {
    let known = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
    let rows = [
        (known("01"), Some("01")),
        (known("00"), Some("00")),
        // Other flags than the one that version 00 knows are not passed on.
        (known("ff"), Some("01")),
        (known("fe"), Some("00")),
        (known("0"), None),
        (known("001"), None),
        (known("0G"), None),
        (known("0A"), None),
        (known("01-"), None),
        (known("01-what"), None),
        (known("01 "), None),
        (format!(" {}", known("01")), None),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
        (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
        (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
        (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
        (format!("00-{}-{SPAN}-01", &TRACE[1..]), None),
        (format!("00-{TRACE}-{}-01", &SPAN[1..]), None),
        (format!("00-{TRACE}{SPAN}--01"), None),
        (format!("00_{TRACE}-{SPAN}-01"), None),
        (format!("00-{TRACE}_{SPAN}-01"), None),
        (format!("00-{}é-{SPAN}-01", &TRACE[2..]), None),
        (format!("00-{TRACE}-{SPAN}"), None),
        (format!("00-{TRACE}"), None),
        // A higher version: what is known of it is read, and more may follow.
        (format!("01-{TRACE}-{SPAN}-01"), Some("01")),
        (format!("cc-{TRACE}-{SPAN}-00"), Some("00")),
        (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), Some("01")),
        (format!("fe-{TRACE}-{SPAN}-01-"), Some("01")),
        (format!("cc-{TRACE}-{SPAN}-01.what"), None),
        (format!("cc-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"), None),
        (format!("cc-{}-{SPAN}-01", "0".repeat(32)), None),
        (format!("cc-{TRACE}-{}-01", "0".repeat(16)), None),
        (format!("ff-{TRACE}-{SPAN}-01"), None),
        (format!("CC-{TRACE}-{SPAN}-01"), None),
        (format!("0-{TRACE}-{SPAN}-01"), None),
        (format!("-{TRACE}-{SPAN}-01"), None),
        (String::new(), None),
    ];
    for (value, flags) in rows {
        let expected = flags.map(|flags| format!("00-{TRACE}-{SPAN}-{flags}"));
        let read = TraceContext::from_traceparent(&value);
        assert_eq!(read.map(String::from), expected, "{value:?}");
    }
}

#[test]
fn amazons_trace_id_is_read_with_or_without_its_parent() {
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let trace = "5759e988bd862e3fe1be46a994272793";
    let (none, parent) = ("0000000000000000", "53995c3f42cd8ad8");
    let rows = [
        (format!("{root};Parent={parent};Sampled=1"), Some((parent, "01"))),
        (format!("{root};Parent={parent};Sampled=0"), Some((parent, "00"))),
        (format!("{root};Parent={parent};Sampled=?"), Some((parent, "00"))),
        (format!("{root};Sampled=1"), Some((none, "01"))),
        (root.to_owned(), Some((none, "00"))),
        (format!("Self=1-67891234-12456789abcdef012345678a; {root}"), Some((none, "00"))),
        (format!("Sampled=1;Parent={parent};{root};Lineage=a87bd80c:0|68fd508a:5"), Some((parent, "01"))),
        (format!("{root};Parent={none};Sampled=1"), None),
        (format!("{root};Parent=53995c3f;Sampled=1"), None),
        (format!("{root};Parent={};Sampled=1", parent.to_uppercase()), None),
        (format!("Parent={parent};Sampled=1"), None),
        (root.replace("1-", "2-"), None),
        (root.replace("bd86", "BD86"), None),
        (root.replace("-bd86", "bd86-"), None),
        (root.replace("272793", "27279"), None),
        ("Root=1-00000000-000000000000000000000000".to_owned(), None),
        ("Root=1-5759e988".to_owned(), None),
        (String::new(), None),
    ];
    for (value, expected) in rows {
        let expected = expected.map(|(span, flags)| format!("00-{trace}-{span}-{flags}"));
        assert_eq!(TraceContext::from_amazon(&value).map(String::from), expected, "{value:?}");
    }
}

#[test]
fn a_request_belongs_to_the_first_trace_that_it_names_well_and_else_to_a_new_one() {
    let (good, bad) = (format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-1"));
    let amazon = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let rows: [(Option<&str>, &[&str], &str); 6] = [
        (Some(&good), &[amazon], TRACE),
        (Some(&bad), &[amazon], "5759e988bd862e3fe1be46a994272793"),
        (None, &["Root=2", amazon], "5759e988bd862e3fe1be46a994272793"),
        (Some(&bad), &["Root=2"], "0000000000000000000000000000002a"),
        (Some(""), &[], "0000000000000000000000000000002a"),
        (None, &[], "0000000000000000000000000000002a"),
    ];
    for (traceparent, amazon, expected) in rows {
        let context = TraceContext::received(traceparent, amazon.iter().copied(), 42);
        assert_eq!(context.trace_id().to_string(), expected, "{traceparent:?} {amazon:?}");
    }
}

#[test]
fn a_new_trace_has_no_step_until_there_is_an_attempt_and_is_never_called_zero() {
    let new = TraceContext::begin(0);
    assert_eq!((new.span_id(), new.traceparent()), (None, None));
    assert_ne!(new.trace_id().to_string(), "0".repeat(32));
    assert!(new.attempt("task_1", 1).traceparent().is_some());
}

#[test]
fn each_attempt_has_a_step_of_its_own_that_is_found_again() {
    let trace = TraceContext::begin(7);
    let span = |trace: &TraceContext, task, n| trace.attempt(task, n).span_id();
    assert_eq!(span(&trace, "task_1", 1), span(&trace, "task_1", 1));
    // Also from a place further down the same trace.
    assert_eq!(span(&trace.attempt("task_0", 1), "task_1", 1), span(&trace, "task_1", 1));
    let others = [span(&trace, "task_1", 2), span(&trace, "task_2", 1), span(&TraceContext::begin(8), "task_1", 1)];
    assert!(!others.contains(&span(&trace, "task_1", 1)), "{others:?}");
    assert_eq!(trace.attempt("task_1", 1).trace_id(), trace.trace_id());
}

#[test]
fn a_message_that_holds_no_trace_context_is_not_read_as_one() {
    for text in ["\"\"", "\"00\"", "1", "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\""] {
        assert!(serde_json::from_str::<TraceContext>(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(random: u128, n: u32, has_step: bool) {
        let new = TraceContext::begin(random);
        let context = if has_step { new.attempt("task_1", n) } else { new };
        let text = serde_json::to_string(&context).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<TraceContext>(&text).expect("a context"), context);
        let header = context.traceparent();
        prop_assert_eq!(header.as_deref().and_then(TraceContext::from_traceparent), has_step.then_some(context));
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\PC*", mut header in "[0-9a-f-]{50,70}") {
        for text in [&text, &header] {
            let _ = TraceContext::from_traceparent(text).or_else(|| TraceContext::from_amazon(text));
        }
        header.insert(30, 'é');
        prop_assert_eq!(TraceContext::from_traceparent(&header), None);
    }
}
