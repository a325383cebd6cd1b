//! The fields of requests and answers, as RFC 9110 asks an intermediary to treat them.

use axum::http::header::{
    self, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode, Version};
use std::net::IpAddr;

/// Fields that are meant for one hop, beside the ones in `Connection`.
const ONE_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Why a request is not forwarded.
pub struct Refused(pub StatusCode, pub &'static str);

/// Where a request came from.
#[derive(Clone, Copy)]
pub struct Forwarded {
    pub peer: IpAddr,
    pub secure: bool,
    pub trusted: bool,
}

/// Whether a list field, perhaps in several lines, has that member.
fn lists(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|found| found.trim().eq_ignore_ascii_case(member))
}

/// Whether the client wants to change the protocol of its connection.
pub fn asks_to_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.headers().contains_key(UPGRADE)
        && lists(request.headers(), &CONNECTION, "upgrade")
}

fn remove_one_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to remove what frames or routes its request.
        .filter(|name: &HeaderName| ![HOST, CONTENT_LENGTH].contains(name))
        .collect();
    for name in named.iter().chain(&ONE_HOP) {
        headers.remove(name);
    }
}

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
    // hyper takes a request with both for a chunked one, and removes the length. Both in one message are how
    // requests are smuggled.
    if parts.headers.contains_key(TRANSFER_ENCODING) && parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(Refused(StatusCode::BAD_REQUEST, "both a length and chunks"));
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') {
        return Err(Refused(StatusCode::BAD_REQUEST, "the target is not a path"));
    }
    let target = target.to_owned();

    let upgrade = parts.headers.get(UPGRADE).cloned();
    let trailers = lists(&parts.headers, &TE, "trailers");
    let headers = &mut parts.headers;
    remove_one_hop(headers);
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

fn name_client(headers: &mut HeaderMap, from: Forwarded, host: &HeaderValue) {
    let Forwarded { peer, secure, trusted } = from;
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
    let upgrade = headers.get(UPGRADE).cloned();
    remove_one_hop(headers);
    if let Some(upgrade) = upgrade.filter(|_| switched) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    headers.append(VIA, via(Version::HTTP_11));
}
