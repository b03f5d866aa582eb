using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>
/// Takes over a connection from HTTP. Done by hand for WebSockets as for SPDY, so that the routes need no middleware of their host.
/// </summary>
internal static class Upgrade
{
    /// <summary>Fixed by RFC 6455, section 1.3.</summary>
    private const string HandshakeGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    /// <summary>How often an idle connection is pinged, so that proxies keep it.</summary>
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(30);

    public static bool IsWebSocket(HttpContext context) => Asks(context, "websocket");

    public static bool IsSpdy(HttpContext context) => Asks(context, "SPDY/3.1");

    /// <summary>The protocols a WebSocket client offers, in its order.</summary>
    public static string[] WebSocketProtocols(HttpContext context) => Split(context.Request.Headers.SecWebSocketProtocol);

    /// <summary>The protocols a SPDY client offers, in its order.</summary>
    public static string[] SpdyProtocols(HttpContext context) => Split(context.Request.Headers["X-Stream-Protocol-Version"]);

    /// <summary>Answers 101 and goes on as a WebSocket; null when the handshake is not one.</summary>
    public static async Task<WebSocket?> AcceptWebSocketAsync(HttpContext context, string? protocol)
    {
        var key = context.Request.Headers.SecWebSocketKey.ToString();
        if (context.Features.Get<IHttpUpgradeFeature>() is not { IsUpgradableRequest: true } upgrade
            || key.Length == 0
            || context.Request.Headers.SecWebSocketVersion.ToString() != "13")
        {
            return null;
        }

        var headers = context.Response.Headers;
        headers.Upgrade = "websocket";
        headers.Connection = "Upgrade";
#pragma warning disable CA5350 // SHA-1 is the handshake's, and protects nothing.
        headers.SecWebSocketAccept = Convert.ToBase64String(SHA1.HashData(Encoding.ASCII.GetBytes(key + HandshakeGuid)));
#pragma warning restore CA5350
        if (protocol is not null)
        {
            headers.SecWebSocketProtocol = protocol;
        }

        var stream = await upgrade.UpgradeAsync();

        // The protocol is not told to the WebSocket: it refuses the slash in kubectl's tunnel protocol, and has no use for it.
        return WebSocket.CreateFromStream(stream, new WebSocketCreationOptions { IsServer = true, KeepAliveInterval = KeepAlive });
    }

    /// <summary>Answers 101 and goes on as SPDY; null when the request cannot be upgraded.</summary>
    public static async Task<Stream?> AcceptSpdyAsync(HttpContext context, string protocol)
    {
        if (context.Features.Get<IHttpUpgradeFeature>() is not { IsUpgradableRequest: true } upgrade)
        {
            return null;
        }

        var headers = context.Response.Headers;
        headers.Upgrade = "SPDY/3.1";
        headers.Connection = "Upgrade";
        headers["X-Stream-Protocol-Version"] = protocol;
        return await upgrade.UpgradeAsync();
    }

    private static bool Asks(HttpContext context, string protocol) =>
        context.Request.Headers.Upgrade.ToString().Contains(protocol, StringComparison.OrdinalIgnoreCase);

    private static string[] Split(Microsoft.Extensions.Primitives.StringValues values) =>
        [.. values.SelectMany(value => (value ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))];
}
