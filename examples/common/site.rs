//! The pages of `http` and `https`: a greeting, a large body, and an echo of the request's body.

use super::http1::{Content, Request, Response};

/// The length of `/large`: more than the kernel's socket buffers hold.
const LARGE: u64 = 8 << 20;

/// - `GET /`: a greeting.
/// - `GET /large`: 8 MiB, the bytes from 0 to 250 repeated.
/// - `POST /echo`: the body of the request.
pub fn answer(request: Request) -> Response {
    let Request { method, path, body } = request;
    match (method.as_str(), path.as_str()) {
        ("GET" | "HEAD", "/") => Response::new("200 OK", &b"Hello, World!\n"[..]),
        ("GET" | "HEAD", "/large") => {
            let content = Content::Pieces(LARGE, |offset, piece| {
                for (byte, at) in piece.iter_mut().zip(offset..) {
                    *byte = (at % 251) as u8;
                }
            });
            Response { status: "200 OK", fields: "", content }
        }
        ("POST", "/echo") => Response::new("200 OK", body),
        (_, "/" | "/large") => not_allowed("Allow: GET, HEAD\r\n"),
        (_, "/echo") => not_allowed("Allow: POST\r\n"),
        _ => Response::new("404 Not Found", &b"not found\n"[..]),
    }
}

fn not_allowed(fields: &'static str) -> Response {
    Response { fields, ..Response::new("405 Method Not Allowed", &b"not allowed\n"[..]) }
}
