//! `clawbridge dev`: the whole bridge in one process.
//!
//! Two ports. The public one answers what API Gateway would, and nothing else, so that a tunnel may point at it. The private one carries
//! the AWS services, the echo endpoint, a page to chat with and the description of the stack; it checks no credentials and must stay on this machine.

mod admin_token;
mod channel;
mod chat;
mod echo;
mod functions;
mod provision;
mod schedule;
mod show;
mod watch;

use crate::cli::{DevArgs, Global};
use crate::failure::Failure;
use crate::stack::Stack;
use crate::upstreams::{Opened, Tools, View, WayOut};
use aws_sdk_secretsmanager::Client as SecretsClient;
use bytes::Bytes;
use chat::Chat;
use clawbridge_api::{Api as ApiFunction, Settings as ApiSettings};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_journal::Level;
use clawbridge_local_aws::gateway::{Access, Function, Gateway, Invoke, Outcome};
use clawbridge_local_aws::mapping::{BatchOutcome, Mapping, MappingConfig, Notice};
use clawbridge_local_aws::websocket::WebSockets;
use clawbridge_local_aws::{LocalAws, OpenError, State};
use clawbridge_oauth_function::{Oauth, Settings as OauthSettings};
use clawbridge_queue::Queue;
use clawbridge_registry::Registry;
use clawbridge_secrets::{Ages, Secrets};
use clawbridge_tools::{Deployment, StandIns};
use clawbridge_webhook::{Settings as WebhookSettings, Webhook};
use clawbridge_worker::{Settings as WorkerSettings, Worker};
use echo::{Echo, json_response};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use show::Show;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch as signal;

/// Time limit of the webhook function, as in the template.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Time limit of the api function, as in the template.
const API_TIMEOUT: Duration = Duration::from_secs(29);

/// Time limit of the oauth function, as in the template.
const OAUTH_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs until Ctrl-C or SIGTERM, then drains.
pub(crate) async fn run(global: &Global, args: &DevArgs) -> Result<(), Failure> {
    let show = Show::new(global.json);
    clawbridge_journal::set_sink(Box::new(move |entry| show.entry(entry)));
    clawbridge_journal::report_panics();

    let state = state(args);
    let local = open(&state)?;
    let (public, private) = listeners(args).await?;
    let mut stack = Stack { told_url: args.public_url.clone(), ..Stack::local(&url(&private)?, &url(&public)?) };
    if let State::Dir(dir) = &state {
        stack.token_file = std::path::absolute(admin_token::path(dir)).ok();
    }
    local.sqs().set_base_url(stack.endpoint_url.as_deref().unwrap_or_default());

    let environment = Environment::local(stack.endpoint_url.as_deref().unwrap_or_default());
    let config = sdk_config(&environment).map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    let tables = aws_sdk_dynamodb::Client::new(&config);
    let registry = Registry::new(tables.clone(), stack.registry_table.clone());
    let upstreams =
        match Opened::open(&args.upstreams, StandIns::Missing, || way_out(SecretsClient::new(&config), &stack))? {
            Some(opened) => {
                let tell = Arc::new(move |level, text: &str| show.upstream(level, text));
                Some(opened.start(Tools::InUse(registry.clone()), tell).await?)
            }
            None => None,
        };
    stack.upstreams = upstreams.as_ref().map(|running| running.led_to());
    let view = upstreams.as_ref().map(|running| running.view()).unwrap_or_default();

    let channel = channel::serve(&environment, &local, &stack, args, show)?;
    let (stop_work, work_stopped) = signal::channel(false);
    let (stop_services, services_stopped) = signal::channel(false);
    let (echo, chat) = (Echo::default(), Chat::default());
    let services = tokio::spawn(local.clone().serve(
        private,
        pages(echo, chat.clone(), stack.clone(), view.clone(), channel.clone(), show),
        until(services_stopped),
    ));

    provision::provision(&local, &tables, &stack, Duration::from_secs(args.visibility)).await?;
    provision::keys(&aws_sdk_secretsmanager::Client::new(&config), &stack).await?;

    let mut bridge_toml = watch::BridgeToml::new(args.config.clone(), registry.clone(), local.clone(), stack.clone());
    let applied = bridge_toml.apply().await?;

    let queue_url = local.sqs().queue_url(&stack.queue);
    let queue = Queue::new(aws_sdk_sqs::Client::new(&config), queue_url.clone());
    let webhook = WebhookSettings {
        queue_url: queue_url.clone(),
        secret_prefix: stack.secret_prefix.clone(),
        public_url: stack.told_url.clone().or_else(|| stack.public_url.clone()),
        keys_mirror: args.keys_mirror.clone(),
    };
    let webhook =
        Webhook::new(&environment, webhook).map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    let oauth = OauthSettings {
        queue_url: queue_url.clone(),
        registry_table: stack.registry_table.clone(),
        secret_prefix: stack.secret_prefix.clone(),
        public_url: stack.told_url.clone().or_else(|| stack.public_url.clone()),
    };
    let oauth = Oauth::new(&environment, oauth).map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    let worker = WorkerSettings {
        queue_url,
        interactive_queue_url: local.sqs().queue_url(&stack.interactive_queue),
        events_table: stack.events_table.clone(),
        tasks_table: stack.tasks_table.clone(),
        registry_table: stack.registry_table.clone(),
        limits_table: stack.limits_table.clone(),
        channel_table: stack.channel_table.clone(),
        channel_endpoint: channel::endpoint(&stack),
        channel_look: Some(Duration::from_secs(args.channel_look)),
        channel_age: Some(Duration::from_secs(args.channel_age)),
        bridge_url: stack.endpoint_url.clone().unwrap_or_default(),
        metrics_namespace: None,
        public_url: stack.told_url.clone().or_else(|| stack.public_url.clone()).unwrap_or_default(),
        secret_prefix: stack.secret_prefix.clone(),
        upstreams: upstreams.as_ref().map(|running| running.upstreams()),
    };
    let worker = Worker::new(&environment, worker).map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;

    let api = ApiSettings {
        queue_url: local.sqs().queue_url(&stack.queue),
        interactive_queue_url: local.sqs().queue_url(&stack.interactive_queue),
        dead_letter_queue_url: local.sqs().queue_url(&stack.dead_letter_queue),
        events_table: stack.events_table.clone(),
        tasks_table: stack.tasks_table.clone(),
        registry_table: stack.registry_table.clone(),
        limits_table: stack.limits_table.clone(),
        rate: args.api_burst.and_then(|burst| args.api_rate.with_burst(burst)).unwrap_or(args.api_rate),
        channel_table: stack.channel_table.clone(),
        secret_prefix: stack.secret_prefix.clone(),
        public_url: stack.told_url.clone().or_else(|| stack.public_url.clone()),
    };
    let api = ApiFunction::new(&environment, api).map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    if let State::Dir(dir) = &state {
        admin_token::provide(dir, &registry).await?;
    }
    chat.provide(&registry, stack.channel_url.as_deref().unwrap_or_default()).await?;

    let oauth = Function::new(functions::oauth(oauth), OAUTH_TIMEOUT);
    let gateway = gateway(functions::webhook(webhook), oauth.clone(), functions::api(api), show)?.websockets(channel);
    let worker = functions::worker(worker);
    let work = mapping(&local, worker.clone(), &stack.queue, args.concurrency, args, show)?;
    let interactive = mapping(&local, worker, &stack.interactive_queue, args.interactive_concurrency, args, show)?;
    if let State::Dir(dir) = &state {
        remember(dir, &stack)?;
    }
    let has_providers = registry.current().await.is_ok_and(|version| !version.config.providers().is_empty());
    banner(global.json, args, &state, &stack, &applied, &view, has_providers);

    let gateway = tokio::spawn(gateway.serve(public, until(work_stopped.clone())));
    let work = tokio::spawn(work.run(until(work_stopped.clone())));
    let interactive = tokio::spawn(interactive.run(until(work_stopped.clone())));
    let watcher = tokio::spawn(bridge_toml.watch(show, until(work_stopped.clone())));
    // Where no call is to leave this machine, nobody is asked for what was missed either.
    let every = Duration::from_secs(if view.is_way_out() { args.catch_up_every } else { 0 });
    let schedule = tokio::spawn(schedule::catch_up(every, registry, queue, show, until(work_stopped.clone())));
    let every = Duration::from_secs(if view.is_way_out() { args.refresh_every } else { 0 });
    let refreshes = tokio::spawn(schedule::refresh(every, oauth, show, until(work_stopped)));

    interrupted().await;
    show.note("stopping: no new requests, running work ends", Level::Info);
    // The gateway and the mappings first: what they still run needs the services.
    stop_work.send_replace(true);
    let (_, cut, also_cut, _, _, _) = tokio::join!(gateway, work, interactive, watcher, schedule, refreshes);
    if let Some(running) = upstreams {
        running.stop(UPSTREAMS_DRAIN).await;
    }
    stop_services.send_replace(true);
    drop(services.await);
    let cut = cut.unwrap_or(0) + also_cut.unwrap_or(0);
    if cut > 0 {
        show.note(&format!("{cut} invocations were cut off; their messages come again at the next start"), Level::Warn);
    }
    Ok(())
}

/// How long what stands in the upstreams' place may go on when nobody waits for it any more.
const UPSTREAMS_DRAIN: Duration = Duration::from_secs(2);

/// The way to the upstreams for a recorder. It reads secrets as the worker does, only for client certificates.
fn way_out(client: SecretsClient, stack: &Stack) -> WayOut {
    let secrets = Secrets::new(client, Ages::default());
    let secret_prefix = stack.secret_prefix.as_str().into();
    WayOut { secrets, deployment: Deployment { bridge_url: "".into(), secret_prefix, upstreams: None } }
}

fn state(args: &DevArgs) -> State {
    if args.ephemeral { State::Ephemeral } else { State::Dir(args.state.clone()) }
}

fn open(state: &State) -> Result<LocalAws, Failure> {
    LocalAws::open(state.clone()).map_err(|error: OpenError| {
        let text = error.to_string();
        let message = text.split_once(": ").map_or(text.as_str(), |(_, message)| message).to_owned();
        Failure::new(error.code(), message)
    })
}

async fn listeners(args: &DevArgs) -> Result<(TcpListener, TcpListener), Failure> {
    let public = bind(args.port).await?;
    let private = match (args.aws_port, args.port) {
        (Some(port), _) => bind(port).await?,
        (None, 0) => bind(0).await?,
        (None, port) => bind(port.checked_add(1).unwrap_or(0)).await?,
    };
    Ok((public, private))
}

async fn bind(port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        Failure::new(
            "PORT_UNAVAILABLE",
            format!("cannot listen on 127.0.0.1:{port}: {error}; choose others with --port and --aws-port"),
        )
    })
}

fn url(listener: &TcpListener) -> Result<String, Failure> {
    let address = listener.local_addr().map_err(|error| Failure::new("PORT_UNAVAILABLE", error.to_string()))?;
    Ok(format!("http://{address}"))
}

/// Resolves when `stopped` says so, or when nobody can say it any more.
async fn until(mut stopped: signal::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

type Page = BoxFuture<'static, Response<Bytes>>;

/// What the private port shows beside the AWS services.
fn pages(
    echo: Echo,
    chat: Chat,
    stack: Stack,
    upstreams: View,
    channel: WebSockets,
    show: Show,
) -> impl Fn(Request<Bytes>) -> Page + Send + Sync + 'static {
    move |request| {
        if let Some(managed) = channel.manage(&request) {
            return Box::pin(std::future::ready(managed));
        }
        let path = request.uri().path();
        let response = match path {
            "/" if request.method() == Method::GET => json_response(StatusCode::OK, &json!(stack)),
            "/__stub" if request.method() == Method::GET => match upstreams.page() {
                Some(page) => json_response(StatusCode::OK, &page),
                None => {
                    let message = "tools call their upstreams: start dev with --stub, --replay or --record";
                    json_response(StatusCode::NOT_FOUND, &json!({"message": message}))
                }
            },
            path if path == "/echo" || path.starts_with("/echo/") => echo.answer(&request, &show),
            path if path == "/chat" || path.starts_with("/chat/") => chat.answer(&request),
            _ => json_response(StatusCode::NOT_FOUND, &json!({"message": "Not Found"})),
        };
        Box::pin(std::future::ready(response))
    }
}

fn gateway(webhook: Invoke, oauth: Function, api: Invoke, show: Show) -> Result<Gateway, Failure> {
    let function = Function::new(webhook, WEBHOOK_TIMEOUT);
    let mut gateway = Gateway::new(clawbridge_local_aws::gateway::Api::default());
    // GET and HEAD are how some providers ask whether the address is theirs.
    for method in ["POST", "GET", "HEAD"] {
        gateway = gateway
            .route(&format!("{method} /hooks/{{source}}"), function.clone())
            .map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    }
    // Every method: who comes by mistake gets a page.
    for path in ["/oauth/connect/{ticket}", "/oauth/callback/{provider}"] {
        gateway = gateway
            .route(&format!("ANY {path}"), oauth.clone())
            .map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    }
    let api = Function::new(api, API_TIMEOUT);
    let gateway = gateway
        .route("POST /callbacks/{ticket}", function)
        .and_then(|gateway| gateway.route("ANY /api/{proxy+}", api.clone()))
        .and_then(|gateway| gateway.route("ANY /mcp", api))
        .map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?
        .fallback(Arc::new(|request| Box::pin(std::future::ready(outside(&request)))))
        .access_log(Arc::new(move |access| note_access(access, &show)));
    Ok(gateway)
}

/// What the public port answers beside the routes.
fn outside(request: &Request<Bytes>) -> Response<Bytes> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => json_response(StatusCode::OK, &json!({"status": "ok"})),
        _ => json_response(StatusCode::NOT_FOUND, &json!({"message": "Not Found"})),
    }
}

/// The functions report what they answer; the gateway reports what never reached them.
fn note_access(access: &Access, show: &Show) {
    let text = match &access.outcome {
        Outcome::Answered => return,
        Outcome::Refused => format!("gateway refused {} with {}", access.method, access.status),
        Outcome::Invocation(error) => format!("{} did not answer: {error}", asked(access)),
        Outcome::Malformed(answer) => format!("{} answered something that is no response: {answer}", asked(access)),
        Outcome::IntegrationTimeout => format!("{} took too long; the sender got 503", asked(access)),
    };
    show.note(&text, Level::Warn);
}

/// The function behind a route.
fn asked(access: &Access) -> &'static str {
    match access.route_key.as_deref() {
        Some(route) if route.contains("/oauth/") => "oauth",
        Some(route) if route.contains("/api/") || route.ends_with("/mcp") => "api",
        Some(_) | None => "webhook",
    }
}

fn mapping(
    local: &LocalAws,
    worker: clawbridge_local_aws::gateway::Invoke,
    queue: &str,
    concurrency: u16,
    args: &DevArgs,
    show: Show,
) -> Result<Mapping, Failure> {
    let config = MappingConfig {
        report_batch_item_failures: true,
        maximum_concurrency: usize::from(concurrency),
        ..MappingConfig::new(queue)
    };
    let function = Function::new(worker, Duration::from_secs(args.worker_timeout));
    let mapping = Mapping::new(local.sqs().clone(), function, config)
        .map_err(|error| Failure::new("LOCAL_STACK", error.to_string()))?;
    Ok(mapping.notices(Arc::new(move |notice| note_mapping(notice, &show))))
}

fn note_mapping(notice: &Notice, show: &Show) {
    let text = match notice {
        // The worker has reported each record that failed.
        Notice::Batch(report) => match &report.outcome {
            BatchOutcome::Answered => return,
            BatchOutcome::Invocation(error) => {
                format!("worker did not answer; {} messages come again: {error}", report.messages)
            }
            BatchOutcome::Malformed(fault) => {
                format!("worker's answer is malformed; {} messages come again: {fault:?}", report.messages)
            }
        },
        Notice::ReceiveFailed(error) => format!("the queue could not be read: {error}"),
        Notice::DeleteFailed { messages, error, .. } => {
            format!("{messages} messages could not be deleted and come again: {error}")
        }
    };
    show.note(&text, Level::Error);
}

fn remember(dir: &Path, stack: &Stack) -> Result<(), Failure> {
    let path = Stack::remembered_at(dir);
    let text = serde_json::to_string_pretty(stack).unwrap_or_default();
    std::fs::write(&path, text)
        .map_err(|error| Failure::new("STATE_UNAVAILABLE", format!("{}: {error}", path.display())))
}

fn banner(
    json_lines: bool,
    args: &DevArgs,
    state: &State,
    stack: &Stack,
    applied: &watch::Applied,
    upstreams: &View,
    has_providers: bool,
) {
    if json_lines {
        let line = json!({"kind": "dev.ready", "stack": stack, "config_version": applied.version, "upstreams": upstreams.summary()});
        println!("{line}");
        return;
    }
    let public = stack.public_url.as_deref().unwrap_or_default();
    let private = stack.endpoint_url.as_deref().unwrap_or_default();
    let kept = match state {
        State::Ephemeral => "in memory, gone when this ends".to_owned(),
        State::Dir(dir) => format!("{}", dir.display()),
    };
    println!("clawbridge {} is running on this machine", env!("CARGO_PKG_VERSION"));
    println!();
    println!("  webhooks   {public}/hooks/SOURCE    (what API Gateway would serve; a tunnel may point here)");
    if let State::Dir(dir) = state {
        println!("  api        {public}/api/v1/    (token: {})", admin_token::path(dir).display());
        println!("  mcp        {public}/mcp        (the same token)");
    }
    if let Some(channel) = &stack.channel_url {
        println!("  channel    {channel}    (users with a token, agents with an app key and secret)");
    }
    println!("  private    {private}    (AWS services without credentials, /echo; keep it on this machine)");
    println!("  chat       {private}/chat    (talk to an agent in a browser; `clawbridge chat` does it in a terminal)");
    println!("  state      {kept}");
    match &applied.summary {
        Some(summary) => println!("  config     {summary}"),
        None => println!("  config     none: there is no {}; events are stored and go nowhere", args.config.display()),
    }
    if has_providers {
        let told = stack.told_url.as_deref().unwrap_or(public).trim_end_matches('/');
        println!("  connect    {told}/oauth/callback/PROVIDER    (the redirect URI that each provider has to know)");
    }
    if let Some(summary) = upstreams.summary() {
        println!("  tools      {summary}; {private}/__stub shows the calls");
    }
    for source in &applied.sources_made {
        println!(
            "  source     {source}: made with a secret of its own; `clawbridge source add {source} --replace` puts the provider's"
        );
    }
    println!();
    println!("Try, in another terminal:");
    println!("  cargo run -- send events/stripe/payment_intent.succeeded.json");
    println!("  cargo run -- tasks list");
    println!("  curl {private}/echo");
    println!();
}

async fn interrupted() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    drop(interrupt.await);
}
