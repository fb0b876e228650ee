//! `tools list|show|call`: the tools of the configuration in use, or of a file that is not applied yet.

use super::print_json;
use super::reach::{DEFAULT_LOCAL, Reached, unreachable};
use super::table;
use crate::cli::{Global, ToolCallArgs, ToolsCommand};
use crate::failure::Failure;
use crate::out::say;
use crate::random;
use crate::stack::LedTo;
use crate::upstreams::{Opened, Running, Tools, WayOut};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Carrier, Compiled, CompiledTool, Effect, Tool, check};
use clawbridge_journal::Level;
use clawbridge_secrets::{Ages, Secrets};
use clawbridge_tasks::{Class, Code, TaskError};
use clawbridge_tools::{Called, Caller, Deployment, Plan, Sender, StandIns, Upstreams};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than any tool may take.
const LONGEST: Duration = Duration::from_secs(60);

/// The largest input that is read, bytes.
const MAX_INPUT_BYTES: u64 = 4 * 1024 * 1024;

pub(crate) async fn run(global: &Global, command: ToolsCommand) -> Result<(), Failure> {
    match command {
        ToolsCommand::List { file } => {
            list(&Configuration::read(global, file.as_deref()).await?.config, global.json);
            Ok(())
        }
        ToolsCommand::Show { name, file } => {
            let read = Configuration::read(global, file.as_deref()).await?;
            show(tool(&read.config, &name)?, global.json);
            Ok(())
        }
        ToolsCommand::Call(args) => call(global, &args).await,
        ToolsCommand::Import(args) => super::import::run(global, &args),
    }
}

/// A configuration and, where it is the one in use, the stack that uses it.
struct Configuration {
    config: Arc<Compiled>,
    reached: Option<Reached>,
}

impl Configuration {
    async fn read(global: &Global, file: Option<&Path>) -> Result<Configuration, Failure> {
        if let Some(file) = file {
            return Ok(Configuration { config: from_file(file)?, reached: None });
        }
        let reached = Reached::stack(global).await?;
        let version = reached.registry.current().await;
        let config = version.map_err(|error| unreachable("REGISTRY_UNAVAILABLE", &error.to_string()))?.config;
        Ok(Configuration { config, reached: Some(reached) })
    }
}

fn from_file(file: &Path) -> Result<Arc<Compiled>, Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::not_found("CONFIG_UNREADABLE", format!("{shown}: {error}")))?;
    let compiled = check(&text).0.and_then(|config| config.compile().ok());
    compiled.map(Arc::new).ok_or_else(|| {
        let message = format!("{shown} has errors; `clawbridge check {shown}` tells them");
        Failure::negative("CONFIG_INVALID", message)
    })
}

fn tool<'c>(config: &'c Compiled, name: &str) -> Result<&'c CompiledTool, Failure> {
    config.tool(name).ok_or_else(|| {
        let message = format!("the configuration has no tool {name}; `clawbridge tools list` shows those that it has");
        Failure::not_found("UNKNOWN_TOOL", message)
    })
}

fn list(config: &Compiled, json: bool) {
    if json {
        let brief = |(name, tool): (&String, &CompiledTool)| {
            let tool = tool.tool();
            json!({"name": name, "method": tool.method, "url": tool.url, "effect": tool.effect, "description": tool.description})
        };
        print_json(&config.tools().iter().map(brief).collect::<Vec<Value>>());
    } else if config.tools().is_empty() {
        say!("The configuration has no tools.");
    } else {
        let row = |(name, tool): (&String, &CompiledTool)| {
            let tool = tool.tool();
            let kind = if tool.graphql.is_some() { "GraphQL" } else { tool.method.as_str() };
            vec![name.clone(), kind.to_owned(), tool.effect.to_string(), tool.url.clone(), tool.description.clone()]
        };
        let rows: Vec<Vec<String>> = config.tools().iter().map(row).collect();
        table::print(&["TOOL", "METHOD", "EFFECT", "URL", "DESCRIPTION"], &rows);
    }
}

fn show(compiled: &CompiledTool, json: bool) {
    let tool = compiled.tool();
    if json {
        let mut whole = json!(tool);
        whole["name"] = json!(compiled.name());
        print_json(&whole);
        return;
    }
    say!("tool      {}", compiled.name());
    if !tool.description.is_empty() {
        say!("does      {}", tool.description);
    }
    say!("request   {} {}", tool.method, tool.url);
    for (name, value) in &tool.query {
        say!("query     {name}={value}");
    }
    for (name, value) in &tool.headers {
        say!("header    {name}: {value}");
    }
    for (label, text) in [("body", &tool.body), ("graphql", &tool.graphql), ("variables", &tool.variables)] {
        if let Some(text) = text {
            say!("{label:<9} {}", text.trim());
        }
    }
    shown_secrets(tool);
    say!("effect    {}", tool.effect);
    if let Some(header) = &tool.idempotency_header {
        say!("key       in {header}: {}", tool.idempotency_key.as_deref().unwrap_or("event and route"));
    }
    say!("bounds    {}, {} attempts, answers of {}", tool.timeout, tool.attempts, tool.max_response);
    if !tool.trace {
        say!("trace     not told");
    }
    if let Some(pages) = &tool.pages {
        say!("pages     by {}, {} at most, {} items at most", pages.kind, pages.max, pages.max_items);
    }
    if let Some(result) = &tool.result {
        say!("result    {}", result.trim());
    }
    for (label, schema) in [("input", &tool.input), ("output", &tool.output)] {
        if let Some(schema) = schema {
            say!("{label:<9} {}", pretty(schema));
        }
    }
}

fn shown_secrets(tool: &Tool) {
    if let Some(auth) = &tool.auth {
        let place = match &auth.carrier {
            Carrier::Header { name, prefix } => format!("header {name}: {prefix}…"),
            Carrier::Query { name } => format!("query {name}=…"),
            Carrier::Basic { user: Some(user) } => format!("Basic, user {user}"),
            Carrier::Basic { user: None } => "Basic, user:password".to_owned(),
        };
        say!("auth      {} in {place}", auth.credential.name());
    }
    if let Some(sign) = &tool.sign {
        say!("signed    {} over {} in {}, with {}", sign.algorithm, sign.over, sign.header, sign.secret);
    }
    if let Some(tls) = &tool.tls {
        let names = [("certificate", &tls.secret), ("authority", &tls.ca)];
        for (what, name) in names.into_iter().filter_map(|(what, name)| name.as_ref().map(|name| (what, name))) {
            say!("tls       {what} {name}");
        }
    }
}

async fn call(global: &Global, args: &ToolCallArgs) -> Result<(), Failure> {
    let input = input(&args.input)?;
    let read = Configuration::read(global, args.file.as_deref()).await?;
    let tool = tool(&read.config, &args.name)?;
    let id = args.key.clone().unwrap_or_else(|| format!("call_{:024x}", fastrand::u128(..) >> 32));
    let sender = Sender { task: &id, step: Some(random::trace().attempt(&id, 1)), callback: None };
    if args.dry_run {
        let deployment = deployment(read.reached.as_ref());
        let plan = Plan::new(&read.config, &deployment, tool, &input, &sender, Timestamp::now());
        let plan = plan.map_err(|error| refused(&error))?;
        if global.json {
            print_json(&plan)
        } else {
            print_plan(&plan)
        }
        return Ok(());
    }
    // Where a script or a recording answers, nobody acts, and neither a stack nor a secret is needed.
    let is_own = args.upstreams.stub.is_some() || args.upstreams.replay.is_some();
    let reached = match read.reached {
        None if !is_own => Some(Reached::stack(global).await?),
        reached => reached,
    };
    let led_to = reached.as_ref().and_then(|reached| reached.stack.upstreams.as_ref());
    let is_real = args.upstreams.record.is_some() || !is_own && led_to.is_none_or(|led_to| led_to.is_way_out);
    if tool.tool().effect == Effect::Unsafe && !args.yes && is_real {
        let message = format!(
            "{} acts each time that it is called (effect = \"unsafe\"); --dry-run shows the request, --yes makes it",
            args.name
        );
        return Err(Failure::negative("UNSAFE_TOOL", message));
    }
    let deployment = deployment(reached.as_ref());
    let secrets = match &reached {
        Some(reached) => Secrets::new(reached.secrets.clone(), Ages::default()),
        None => no_secrets()?,
    };
    let connections = reached.as_ref().map(Reached::connections);
    let running = elsewhere(args, &read.config, &secrets, &deployment).await?;
    let upstreams = match (&running, led_to) {
        (Some(running), _) => Some(running.upstreams()),
        // What `dev` does not call is not called from here either.
        (None, Some(led_to)) => Some(of_stack(led_to)?),
        (None, None) => None,
    };
    let caller = Caller::new(read.config.clone(), secrets, connections, Deployment { upstreams, ..deployment });
    let started = Instant::now();
    let called = caller.call(tool, &input, &sender, LONGEST).await;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if global.json {
        print_json(&document(&args.name, &called, ms));
    } else {
        print_called(&called, ms);
    }
    if let Some(running) = running {
        let view = running.view();
        // What the call did not wait for any more is still recorded.
        running.stop(LONGEST).await;
        if view.unrecorded() > 0 {
            let message = "the call was made, and not all of its exchanges were recorded";
            return Err(Failure::negative("NOT_RECORDED", message));
        }
    }
    called.answer.map(drop).map_err(|error| refused(&error))
}

/// What the command line puts in the upstreams' place.
async fn elsewhere(
    args: &ToolCallArgs,
    config: &Arc<Compiled>,
    secrets: &Secrets,
    deployment: &Deployment,
) -> Result<Option<Running>, Failure> {
    let way_out = || WayOut { secrets: secrets.clone(), deployment: deployment.clone() };
    let Some(opened) = Opened::open(&args.upstreams, StandIns::Always, way_out)? else { return Ok(None) };
    let tell = Arc::new(|level, text: &str| {
        if level != Level::Info {
            eprintln!("{text}");
        }
    });
    opened.start(Tools::Of(config.clone()), tell).await.map(Some)
}

/// What stands in the upstreams' place for the running stack.
fn of_stack(led_to: &LedTo) -> Result<Upstreams, Failure> {
    let stand_ins = if led_to.is_way_out { StandIns::Never } else { StandIns::Missing };
    Upstreams::new(&led_to.url, stand_ins).map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))
}

/// Secrets for a call that reads none: there is no stack behind them.
fn no_secrets() -> Result<Secrets, Failure> {
    let nowhere = sdk_config(&Environment::local("http://127.0.0.1:9"));
    let nowhere = nowhere.map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    Ok(Secrets::new(aws_sdk_secretsmanager::Client::new(&nowhere), Ages::default()))
}

/// The input on the command line: JSON, `@FILE`, or `-` for standard input.
fn input(text: &str) -> Result<Value, Failure> {
    let unreadable = |what: &str, reason: String| Failure::negative("INPUT_UNREADABLE", format!("{what}: {reason}"));
    let bounded = |what: &str, source: &mut dyn Read| -> Result<String, Failure> {
        let mut text = String::new();
        let read = source.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text);
        let read = read.map_err(|error| unreadable(what, error.to_string()))?;
        if read as u64 > MAX_INPUT_BYTES {
            return Err(unreadable(what, format!("more than {MAX_INPUT_BYTES} bytes")));
        }
        Ok(text)
    };
    let (what, text) = match text.strip_prefix('@') {
        Some(file) => {
            let opened = std::fs::File::open(file);
            let mut opened =
                opened.map_err(|error| Failure::not_found("INPUT_UNREADABLE", format!("{file}: {error}")))?;
            (file, bounded(file, &mut opened)?)
        }
        None if text == "-" => ("standard input", bounded("standard input", &mut std::io::stdin())?),
        None => ("--input", text.to_owned()),
    };
    serde_json::from_str(&text).map_err(|error| unreadable(what, format!("not JSON: {error}")))
}

fn deployment(reached: Option<&Reached>) -> Deployment {
    let bridge_url = match reached {
        Some(reached) => {
            reached.stack.endpoint_url.as_deref().or(reached.stack.public_url.as_deref()).unwrap_or_default()
        }
        None => DEFAULT_LOCAL,
    };
    let secret_prefix = reached.map_or("clawbridge", |reached| &reached.stack.secret_prefix);
    Deployment { bridge_url: bridge_url.into(), secret_prefix: secret_prefix.into(), upstreams: None }
}

fn print_plan(plan: &Plan) {
    say!("{} {}", plan.method, plan.url);
    for (name, value) in &plan.headers {
        say!("{name}: {value}");
    }
    if let Some(body) = &plan.body {
        say!();
        say!("{body}");
    }
    if !plan.secrets.is_empty() {
        eprintln!("Nothing was sent. The secrets of the real request: {}.", plan.secrets.join(", "));
    } else {
        eprintln!("Nothing was sent.");
    }
}

fn document(name: &str, called: &Called, ms: u64) -> Value {
    let quota = called
        .quota
        .map(|quota| json!({"remaining": quota.remaining, "reset_at": quota.reset_at.map(Timestamp::rfc3339)}));
    let mut document = json!({"tool": name, "status": called.status, "request_id": called.request_id, "quota": quota,
        "requests": called.requests, "sent_bytes": called.sent_bytes, "received_bytes": called.received_bytes, "ms": ms});
    match &called.answer {
        Ok(result) => document["result"] = result.clone(),
        Err(error) => {
            document["error"] = json!({"code": error.code, "class": error.class, "message": error.message,
                "hint": hint(error), "evidence": error.evidence, "may_have_acted": error.may_have_acted,
                "retry_after_ms": error.retry_after.map(|wait| wait.as_millis() as u64)});
        }
    }
    document
}

fn print_called(called: &Called, ms: u64) {
    if let Some(status) = called.status {
        say!("status    {status}");
    }
    if let Some(id) = &called.request_id {
        say!("request   {id}");
    }
    if let Some(quota) = called.quota {
        let until = quota.reset_at.map(|at| format!(", more at {at}")).unwrap_or_default();
        say!("quota     {} left{until}", quota.remaining);
    }
    say!(
        "took      {ms} ms, requests {}, bytes sent {}, received {}",
        called.requests,
        called.sent_bytes,
        called.received_bytes
    );
    match &called.answer {
        Ok(result) => say!("result    {}", pretty(result)),
        Err(error) => {
            say!("error     {} ({})", error.code.as_str(), class(error.class));
            if error.may_have_acted {
                say!("acted     perhaps");
            }
            if let Some(evidence) = &error.evidence {
                say!("answered  {}", evidence.escape_debug());
            }
            say!("hint      {}", hint(error));
        }
    }
}

fn refused(error: &TaskError) -> Failure {
    Failure::negative(error.code.as_str(), error.message.clone())
}

fn class(class: Class) -> String {
    json!(class).as_str().unwrap_or_default().to_owned()
}

/// What to do about an error.
fn hint(error: &TaskError) -> String {
    let wait = error.retry_after.map(|wait| format!(" in {} s", wait.as_secs().max(1)));
    match error.code {
        Code::RateLimited => format!("call again{}", wait.unwrap_or_else(|| " later".to_owned())),
        Code::Unavailable | Code::Timeout => {
            "call again; if it stays so, look whether the API is up and timeout is long enough".to_owned()
        }
        Code::UpstreamError => "the API is broken for this call; ask who runs it, with the request's id".to_owned(),
        Code::ValidationError => "compare the request (--dry-run) with the API's documentation".to_owned(),
        Code::Conflict => "look what is there already; the same call will not be accepted".to_owned(),
        Code::AuthenticationFailed => {
            "put a valid credential into the tool's secret: `clawbridge secret set NAME`".to_owned()
        }
        Code::Forbidden => "give the credential the permission that this call needs".to_owned(),
        Code::NotFound => "there is no such thing, or the credential may not see it".to_owned(),
        Code::UnexpectedResponse => {
            "compare the answer with the tool's declaration: url, result, output, pages".to_owned()
        }
        Code::CredentialUnavailable => "set the secret that the message names".to_owned(),
        Code::AddressForbidden => "if the address may be called, add it to [network] allow".to_owned(),
        _ => "see the message".to_owned(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
