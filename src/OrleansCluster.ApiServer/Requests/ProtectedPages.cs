using System.Text;
using Microsoft.AspNetCore.Http;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Pages for browsers below one path of the API's port, for callers whom a rule for that path (`nonResourceURLs`) permits, such as `cluster-admin`.
/// Register it as a singleton.
/// </summary>
public interface IProtectedPages
{
    /// <summary>The path, e.g. `/dashboard`.</summary>
    PathString Path { get; }

    /// <summary>Answers a GET of somebody who may.</summary>
    Task HandleAsync(HttpContext context);
}

/// <summary>
/// How a browser shows who it is: it asks its user for name and password when it is told to (HTTP Basic), and sends them with every request of the page. The
/// password is a bearer token; the name is not looked at, a token says whose it is. Nothing of this concerns any other path.
/// </summary>
internal static class BrowserLogin
{
    private const string Scheme = "Basic ";

    /// <summary>Makes a bearer token of what the browser sent; false if it must ask its user first, and the answer says so.</summary>
    public static bool Enter(HttpContext context)
    {
        var header = context.Request.Headers.Authorization.ToString();
        if (header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) && PasswordOf(header[Scheme.Length..]) is { Length: > 0 } token)
            context.Request.Headers.Authorization = "Bearer " + token;
        else if (header.Length == 0 && context.Connection.ClientCertificate is null)
            return Ask(context);
        return true;
    }

    /// <summary>After a wrong token: the browser asks again.</summary>
    public static bool Ask(HttpContext context)
    {
        context.Response.Headers.WWWAuthenticate = "Basic realm=\"OrleansCluster: any name, and a bearer token as password\", charset=\"UTF-8\"";
        return false;
    }

    private static string? PasswordOf(string encoded)
    {
        Span<byte> decoded = stackalloc byte[1024];
        if (!Convert.TryFromBase64String(encoded.Trim(), decoded, out var length))
            return null;
        var text = Encoding.UTF8.GetString(decoded[..length]);
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? null : text[(colon + 1)..];
    }
}
