//! The fields of requests and answers, as RFC 9110 asks an intermediary to treat them.

use axum::http::header::{
    self, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Method, Request, StatusCode, Version};
use std::net::IpAddr;

/// Fields that are meant for one hop, beside the ones in `Connection`.
const ONE_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How often a request may have passed a gateway of this kind. Upstreams that are gateways may form a loop.
const PASSES: usize = 5;

/// Why a request is not forwarded.
pub struct Refused(pub StatusCode, pub &'static str);

/// Where a request came from.
#[derive(Clone, Copy)]
pub struct Forwarded {
    pub peer: IpAddr,
    pub secure: bool,
    pub trusted: bool,
}

/// The members of a list field, perhaps in several lines. They are bytes: a member that is no text must not
/// hide the others.
fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn lists(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    members(headers, name).any(|found| found.eq_ignore_ascii_case(member.as_bytes()))
}

/// Whether the client wants a WebSocket. No other protocol passes: in a tunnel of `h2c` a client would talk
/// to the upstream past all rules of the gateway.
pub fn asks_to_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && members(request.headers(), &UPGRADE).all(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && request.headers().contains_key(UPGRADE)
        && lists(request.headers(), &CONNECTION, "upgrade")
}

fn remove_one_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = members(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // A client must not be able to remove what frames or routes its request.
        .filter(|name: &HeaderName| ![HOST, CONTENT_LENGTH].contains(name))
        .collect();
    for name in named.iter().chain(&ONE_HOP) {
        headers.remove(name);
    }
}

/// Whether the request is `OPTIONS *`. It is about a server as a whole, and not for any of the upstreams.
pub fn asks_about_the_server(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && parts.uri.path() == "*"
}

/// The methods that an upstream may see: the usual ones. Others pass as well, but `CONNECT` and `TRACE`.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Turns a client's head into one for an upstream, and returns the target: a path, perhaps with a query.
pub fn to_upstream(parts: &mut Parts, from: Forwarded, upgrades: bool) -> Result<String, Refused> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "this method is not forwarded"));
    }
    // In HTTP/2, and in the form that a client sends to a proxy, the authority counts.
    let hosts: Vec<_> = parts.headers.get_all(HOST).iter().collect();
    let host = match (parts.uri.authority(), &hosts[..]) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).ok(),
        (None, [host]) => Some((*host).clone()),
        (None, []) if parts.version < Version::HTTP_11 => Some(HeaderValue::from_static("")),
        _ => None,
    };
    let Some(host) = host else { return Err(Refused(StatusCode::BAD_REQUEST, "one Host is needed")) };
    // Software behind the gateway may read `a@b` as another host than the gateway does.
    let valid = |host: &str| host.is_empty() || !host.contains('@') && host.parse::<Authority>().is_ok();
    if !host.to_str().is_ok_and(valid) {
        return Err(Refused(StatusCode::BAD_REQUEST, "the Host is not valid"));
    }
    // hyper has decoded the chunks, and nothing else. Of a request with both chunks and a length, which is
    // how requests are smuggled, it has dropped the length.
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err(Refused(StatusCode::NOT_IMPLEMENTED, "a transfer coding beside chunked"));
    }
    if members(&parts.headers, &VIA).filter(|member| member.ends_with(b" sward-gateway")).count() >= PASSES {
        return Err(Refused(StatusCode::LOOP_DETECTED, "the gateways form a loop"));
    }
    let target = match parts.uri.path_and_query().map_or("/", |target| target.as_str()) {
        path if path.starts_with('/') => path.to_owned(),
        // `GET http://host?query`.
        query if query.starts_with('?') => format!("/{query}"),
        // `OPTIONS *` does not come here.
        _ => return Err(Refused(StatusCode::BAD_REQUEST, "the target is not a path")),
    };

    let upgrade = parts.headers.get(UPGRADE).cloned();
    let trailers = lists(&parts.headers, &TE, "trailers");
    let headers = &mut parts.headers;
    remove_one_hop(headers);
    remove_claims(headers, from.trusted);
    // The gateway itself answers it, with the first read of the body.
    headers.remove(EXPECT);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(upgrade) = upgrade.filter(|_| upgrades) {
        headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    // HTTP/2 may split the field; HTTP/1.1 must not.
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1 {
        let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
        headers.insert(
            COOKIE,
            joined.map_err(|_| Refused(StatusCode::BAD_REQUEST, "the cookies are not valid"))?,
        );
    }
    name_client(headers, from, &host);
    headers.insert(HOST, host);
    headers.append(VIA, via(parts.version));
    Ok(target)
}

/// Removes fields by which a client could pretend something to an upstream.
fn remove_claims(headers: &mut HeaderMap, trusted: bool) {
    let claims = |name: &HeaderName| {
        let name = name.as_str();
        // CGI and its heirs make the variable HTTP_PROXY of `Proxy`, which many libraries obey, and read `_`
        // in a name as `-`: `X_Forwarded_For` would pass for the gateway's own field.
        name == "proxy"
            || name.contains('_')
            || !trusted && (name == "x-real-ip" || name.starts_with("x-forwarded-"))
    };
    let claims: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
    for name in &claims {
        headers.remove(name);
    }
}

fn name_client(headers: &mut HeaderMap, from: Forwarded, host: &HeaderValue) {
    let Forwarded { peer, secure, trusted } = from;
    // A listener for IPv6 sees clients of IPv4 as `::ffff:1.2.3.4`.
    let peer = peer.to_canonical();
    let proto = if secure { "https" } else { "http" };
    let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
    let quoted = host.to_str().unwrap_or_default().replace(['"', '\\'], "");
    for (name, new) in
        [(FOR, peer.to_string()), (FORWARDED, format!("for={node};host=\"{quoted}\";proto={proto}"))]
    {
        let former: Vec<&str> = headers.get_all(&name).iter().filter_map(|line| line.to_str().ok()).collect();
        let all = if trusted && !former.is_empty() { format!("{}, {new}", former.join(", ")) } else { new };
        headers.insert(name, HeaderValue::from_str(&all).expect("visible characters"));
    }
    if !trusted || !headers.contains_key(&PROTO) {
        headers.insert(PROTO, HeaderValue::from_static(proto));
    }
    if !trusted || !headers.contains_key(&FORWARDED_HOST) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 | Version::HTTP_09 => "1.0 sward-gateway",
        Version::HTTP_2 => "2 sward-gateway",
        _ => "1.1 sward-gateway",
    })
}

/// Turns an upstream's head into one for the client.
pub fn to_client(headers: &mut HeaderMap, switched: bool) {
    // If an answer has both, hyper has read the chunks. A wrong length would cut the answer.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let upgrade = headers.get(UPGRADE).cloned();
    remove_one_hop(headers);
    if let Some(upgrade) = upgrade.filter(|_| switched) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    headers.append(VIA, via(Version::HTTP_11));
}
