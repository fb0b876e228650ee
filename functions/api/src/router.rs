//! From a request to a call, and from what came of it to a response.

use crate::call::{Call, complaints, validator};
use crate::endpoint::{Endpoint, Needs, Reply, read_query};
use crate::mcp;
use crate::openapi::{needs, requires};
use crate::problem::{Code, Problem};
use crate::schemas::schemas;
use crate::state::{Api, random};
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::RawPathParams;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::routing::any;
use clawbridge_access::Caller;
use clawbridge_clock::Timestamp;
use clawbridge_trace::TraceContext;
use jsonschema::Validator;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Error, Request, RequestExt, Response, Service};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

/// The largest body, bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-clawbridge-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

type Resource = Arc<Vec<Endpoint>>;

/// What is the same for all requests of a process.
static VALIDATORS: LazyLock<HashMap<String, Validator>> = LazyLock::new(|| {
    let all = schemas();
    let compiled = all.as_object().into_iter().flatten().filter_map(|(name, schema)| {
        let mut schema = schema.clone();
        schema["components"] = serde_json::json!({ "schemas": all });
        Some((name.clone(), validator(&schema)?))
    });
    compiled.collect()
});

impl Api {
    /// Answers one request. The error type is Lambda's; nothing is returned as one.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let request_id = request_id(&request);
        let trace = trace_of(&request);
        let is_head = request.method() == Method::HEAD;
        let (mut parts, body) = request.into_parts();
        let now = Timestamp::now();
        let who = self.caller(header(&parts.headers, &header::AUTHORIZATION).as_deref(), now).await;
        let allowance = self.allow(&who, now).await;
        let asked = Asked { api: self.clone(), body: body.to_vec(), request_id: request_id.clone(), trace, who, now };
        let answer = match allowance.refusal() {
            _ if parts.uri.path() == mcp::PATH => mcp::answer(&parts, &asked, allowance.refusal()).await,
            Some(refusal) => failed(&refusal, &request_id),
            None => {
                parts.extensions.insert(asked);
                let Ok(answer) = router().call(axum::http::Request::from_parts(parts, AxumBody::empty())).await;
                answer
            }
        };
        let (mut parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await?;
        allowance.write(&mut parts.headers, now);
        set(&mut parts.headers, REQUEST_ID, &request_id);
        set(&mut parts.headers, VERSION, env!("CARGO_PKG_VERSION"));
        set(&mut parts.headers, header::CACHE_CONTROL, "no-store");
        let body = match std::str::from_utf8(&body) {
            Ok(text) if !is_head && !text.is_empty() => Body::Text(text.to_owned()),
            _ => Body::Empty,
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// What goes along with a request to its endpoint.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) api: Api,
    pub(crate) body: Vec<u8>,
    pub(crate) request_id: String,
    pub(crate) trace: TraceContext,
    /// Who asks, or why nobody is known to.
    pub(crate) who: Result<Caller, Problem>,
    pub(crate) now: Timestamp,
}

fn router() -> Router {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| {
        let mut resources: BTreeMap<&'static str, Vec<Endpoint>> = BTreeMap::new();
        for endpoint in crate::handlers::endpoints() {
            resources.entry(endpoint.path).or_default().push(endpoint);
        }
        let mut router = Router::new();
        for (path, endpoints) in resources {
            let resource: Resource = Arc::new(endpoints);
            let handler = move |params: RawPathParams, request: axum::extract::Request| {
                let resource = resource.clone();
                let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                async move { answer(&resource, params, request.into_parts().0).await }
            };
            router = router.route(path, any(handler));
        }
        router.fallback(|request: axum::extract::Request| async move {
            let asked = request.extensions().get::<Asked>().map_or("", |asked| asked.request_id.as_str());
            failed(
                &Problem::new(Code::NotFound, "there is no such address; /api/v1/openapi.json has all of them"),
                asked,
            )
        })
    });
    ROUTER.clone()
}

async fn answer(resource: &[Endpoint], params: BTreeMap<String, String>, parts: Parts) -> Response<AxumBody> {
    let Some(asked) = parts.extensions.get::<Asked>().cloned() else {
        return failed(&Problem::unavailable("a request without its extension"), "");
    };
    let allowed = allowed(resource);
    if parts.method == Method::OPTIONS {
        let mut answer = Response::new(AxumBody::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        set(answer.headers_mut(), header::ALLOW, &allowed);
        return answer;
    }
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let Some(endpoint) = resource.iter().find(|endpoint| endpoint.method == *method) else {
        let problem = Problem::new(Code::MethodNotAllowed, format!("this address takes {allowed}"));
        let mut answer = failed(&problem, &asked.request_id);
        set(answer.headers_mut(), header::ALLOW, &allowed);
        return answer;
    };
    match carry_out(endpoint, params, &parts, &asked).await {
        Ok(reply) => written(reply),
        Err(problem) => {
            if let Some(inside) = &problem.inside {
                crate::note_inside(inside, endpoint.id);
            }
            failed(&problem, &asked.request_id)
        }
    }
}

async fn carry_out(
    endpoint: &Endpoint,
    params: BTreeMap<String, String>,
    parts: &Parts,
    asked: &Asked,
) -> Result<Reply, Problem> {
    let caller = match endpoint.needs {
        Needs::Nothing => None,
        Needs::Wish(_) | Needs::Token(_) => Some(asked.who.clone()?),
    };
    if let (Needs::Wish(wish), Some(caller)) = (endpoint.needs, &caller)
        && !caller.may(wish)
    {
        return Err(Problem::forbidden(needs(endpoint.needs).unwrap_or_default()));
    }
    let query = read_query(endpoint.query, parts.uri.query().unwrap_or_default())?;
    let media = media_type(&parts.headers);
    let body = read_body(endpoint, &media, &asked.body)?;
    let key = if endpoint.takes_key { key(&parts.headers)? } else { None };
    let call = Call {
        caller,
        params,
        query,
        body,
        raw: asked.body.clone(),
        media,
        key,
        if_match: header(&parts.headers, &header::IF_MATCH),
        trace: asked.trace,
        now: asked.now,
    };
    (endpoint.run)(&asked.api, &call).await
}

/// The body as its schema wants it; null where there is none and none is needed, or it is not JSON.
fn read_body(endpoint: &Endpoint, media: &str, body: &[u8]) -> Result<Value, Problem> {
    if body.len() > MAX_BODY_BYTES {
        return Err(Problem::new(Code::PayloadTooLarge, format!("a body has {MAX_BODY_BYTES} bytes at most")));
    }
    let Some(schema) = endpoint.body else {
        return if body.is_empty() { Ok(Value::Null) } else { Err(Problem::field("", "this takes no body")) };
    };
    if body.is_empty() && !requires(schema) {
        return Ok(Value::Null);
    }
    if !endpoint.media.contains(&media) {
        let message = format!("a body is {}; say so in Content-Type", endpoint.media.join(" or "));
        return Err(Problem::new(Code::UnsupportedMediaType, message));
    }
    if media == "application/toml" {
        return Ok(Value::Null);
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not JSON: line {}, column {}", error.line(), error.column());
        Problem::new(Code::InvalidJson, message)
    })?;
    let fields = VALIDATORS.get(schema).map(|validator| complaints(validator, &value)).unwrap_or_default();
    if fields.is_empty() { Ok(value) } else { Err(Problem::fields(fields)) }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = all.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && all.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Problem::field("Idempotency-Key", "one key is wanted: 1 to 255 visible ASCII characters")),
    }
}

/// A header that is text.
pub(crate) fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn allowed(resource: &[Endpoint]) -> String {
    let mut methods: Vec<&str> = resource.iter().map(|endpoint| endpoint.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

fn written(reply: Reply) -> Response<AxumBody> {
    let mut answer = json(reply.status, &reply.body);
    answer.headers_mut().extend(reply.headers);
    answer
}

fn failed(problem: &Problem, request_id: &str) -> Response<AxumBody> {
    let mut answer = json(problem.code.status(), &problem.body(request_id));
    answer.headers_mut().extend(problem.headers.iter().cloned());
    if let Some(seconds) = problem.retry_after {
        set(answer.headers_mut(), header::RETRY_AFTER, &seconds.to_string());
    }
    answer
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response<AxumBody> {
    let mut answer = Response::new(AxumBody::from(body.to_string()));
    *answer.status_mut() = status;
    set(answer.headers_mut(), header::CONTENT_TYPE, "application/json");
    answer
}

pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// API Gateway's id of the request, else Lambda's.
fn request_id(request: &Request) -> String {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    gateway
        .filter(|id| !id.is_empty())
        .or_else(|| request.lambda_context_ref().map(|context| context.request_id.clone()))
        .unwrap_or_default()
}

/// The trace that the request names, else that under which AWS knows it, else one of its own.
fn trace_of(request: &Request) -> TraceContext {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let invocation = request.lambda_context_ref().and_then(|context| context.xray_trace_id.as_deref());
    let amazon = [header("x-amzn-trace-id"), invocation].into_iter().flatten();
    TraceContext::received(header("traceparent"), amazon, u128::from_be_bytes(random().unwrap_or_default()))
}
