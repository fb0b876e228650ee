//! `verify`: why a webhook is refused, and files of signature vectors.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::secrets;
use crate::cli::{Global, VerifyArgs};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_aws::explain as explain_aws;
use clawbridge_clock::Timestamp;
use clawbridge_signatures::{Explanation, Request, Scheme, Source, explain};
use clawbridge_vectors::{Kind, Line, Outcome, Vectors};
use serde_json::json;
use std::io::Read;
use std::path::Path;

pub(crate) async fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    match (&args.vectors, &args.source, args.scheme) {
        (Some(file), _, _) => vectors(global, file),
        (None, Some(source), _) => {
            let candidates = of_the_stack(global, source).await?;
            request(global, args, &candidates)
        }
        (None, None, Some(scheme)) => {
            let source = given(args, scheme)?;
            request(global, args, &Candidates { sources: vec![source], url: None })
        }
        // clap asks for one of them.
        (None, None, None) => Err(Failure::usage("SOURCE_MISSING", "give --scheme, --source or --vectors")),
    }
}

fn vectors(global: &Global, file: &Path) -> Result<(), Failure> {
    let invalid = |problem: String| Failure::usage("VECTORS_INVALID", format!("{}: {problem}", file.display()));
    let vectors = Vectors::read(&read(file)?).map_err(|problem| invalid(problem.to_string()))?;
    let report = clawbridge_vectors::run(&vectors);
    if global.json {
        let differs = report.lines.iter().filter(|line| line.outcome != Outcome::Passed).map(line_json);
        print_json(&json!({
            "passed": report.passed(),
            "failed": report.failed(),
            "unsupported": report.unsupported(),
            "handshakes": {"passed": report.handshakes_passed(), "not_run": report.handshakes_not_run()},
            "differs": differs.collect::<Vec<_>>(),
        }));
    } else {
        say!("{report}");
    }
    if report.is_good() { Ok(()) } else { Err(Failure::said("VECTORS_FAILED")) }
}

fn line_json(line: &Line) -> serde_json::Value {
    let kind = match line.kind {
        Kind::Vector => "vector",
        Kind::Handshake => "handshake",
    };
    let (outcome, expected, got) = match &line.outcome {
        Outcome::Passed => ("passed", None, None),
        Outcome::Failed { expected, got } => ("failed", Some(expected), Some(got)),
        Outcome::Unsupported { reason } => ("unsupported", None, Some(reason)),
        Outcome::NotRun { reason } => ("not_run", None, Some(reason)),
    };
    json!({"kind": kind, "provider": line.provider, "name": line.name, "outcome": outcome, "expected": expected, "got": got})
}

/// What a request may be a delivery of.
struct Candidates {
    /// The source, then the one before its last rotation: a running bridge takes either.
    sources: Vec<Source>,
    /// Where its webhooks go.
    url: Option<String>,
}

/// The source that the command line describes.
fn given(args: &VerifyArgs, scheme: Scheme) -> Result<Source, Failure> {
    let secrets = if args.secret.is_empty() {
        if args.body_file.as_deref() == Some(Path::new("-")) {
            let message = "standard input cannot be both secret and body; give one of them another way";
            return Err(Failure::usage("SECRET_UNREADABLE", message));
        }
        vec![secrets::from_standard_input()?]
    } else {
        args.secret.clone()
    };
    // The secret's own form carries the options and checks them.
    let mut document = json!({"scheme": scheme.name(), "secrets": secrets});
    for (name, options) in [("hmac", &args.hmac), ("token", &args.token)] {
        if let Some(options) = options {
            document[name] = options.clone();
        }
    }
    if let Some(audience) = &args.audience {
        document["audience"] = json!(audience);
    }
    if let Some(tolerance_s) = args.tolerance {
        let place = if args.hmac.is_some() { &mut document["hmac"] } else { &mut document };
        if let Some(place) = place.as_object_mut() {
            place.insert("tolerance_s".into(), json!(tolerance_s));
        }
    }
    Source::from_secret(document.to_string().as_bytes())
        .map_err(|error| Failure::usage("SOURCE_INVALID", error.to_string()))
}

async fn of_the_stack(global: &Global, name: &str) -> Result<Candidates, Failure> {
    let reached = Reached::stack(global).await?;
    let secret = reached.stack.source_secret(name);
    let current = secrets::read(&reached, &secret).await?.ok_or_else(|| {
        Failure::not_found("UNKNOWN_SOURCE", format!("there is no source {name}; `clawbridge source list` shows them"))
    })?;
    let current = Source::from_secret(&current).map_err(|error| {
        Failure::negative(
            "SOURCE_INVALID",
            format!("source {name} does not work: {error}; add it again with --replace"),
        )
    })?;
    let before = reached.secrets.get_secret_value().secret_id(&secret).version_stage("AWSPREVIOUS").send().await;
    let before = match before {
        Ok(output) => output.secret_string.and_then(|text| Source::from_secret(text.as_bytes()).ok()),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => None,
        Err(error) => return Err(unreachable("SECRETS_UNAVAILABLE", &explain_aws(&error))),
    };
    let url = reached.stack.public_url.as_ref().map(|url| format!("{url}/hooks/{name}"));
    Ok(Candidates { sources: std::iter::once(current).chain(before).collect(), url })
}

fn request(global: &Global, args: &VerifyArgs, candidates: &Candidates) -> Result<(), Failure> {
    let body = args.body_file.as_deref().map(read).transpose()?.unwrap_or_default();
    let keys = args.keys_file.as_deref().map(read).transpose()?;
    let address = args.url.as_ref().or(candidates.url.as_ref());
    let given_query = address.and_then(|url| url.split_once('?')).map(|(_, query)| query);
    let query = args.query.as_deref().or(given_query).unwrap_or_default();
    // The URL is signed with its query, whichever of the two it was given in.
    let url = address.map(|url| match query {
        "" => url.clone(),
        query => format!("{}?{query}", url.split('?').next().unwrap_or_default()),
    });
    let headers = args.header.iter().map(|header| (header.name.as_str(), header.value.as_bytes())).collect();
    let request = Request { method: &args.method, url: url.as_deref(), query, headers, body: &body };
    let now = args.now.unwrap_or_else(|| Timestamp::now().seconds());

    let explained: Vec<Explanation> =
        candidates.sources.iter().map(|source| explain(source, &request, keys.as_deref(), now)).collect();
    let found = explained.iter().position(Explanation::is_valid);
    let found = found.or_else(|| explained.iter().position(Explanation::signature_holds)).unwrap_or(0);
    let Some(explanation) = explained.get(found) else {
        return Err(Failure::negative("SOURCE_INVALID", "there is no source to verify with"));
    };
    let is_previous = found > 0;
    if global.json {
        let mut json = explanation.to_json();
        json["previous_source"] = json!(is_previous);
        print_json(&json);
    } else {
        say!("{}", explanation.to_string().trim_end());
        if is_previous {
            say!("source    as it was before its last change, which a running bridge takes too");
        }
    }
    match &explanation.verdict {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Failure::said(refusal.code())),
    }
}

/// The bytes of a file, or of standard input.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(file).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::not_found("FILE_UNREADABLE", format!("{}: {error}", file.display())))?;
    Ok(bytes)
}
