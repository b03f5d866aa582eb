using System.Text;
using Microsoft.AspNetCore.Http;

namespace OrleansCluster.ApiServer;

/// <summary>One thing `/readyz` asks about.</summary>
/// <param name="Name">Name in the answer.</param>
/// <param name="ForLiveness">True if a failure means that the process should be restarted.</param>
/// <param name="CheckAsync">Null if all is well, else what is wrong.</param>
public sealed record HealthCheck(string Name, bool ForLiveness, Func<CancellationToken, ValueTask<string?>> CheckAsync);

/// <summary>`/healthz`, `/livez` and `/readyz`: one line `ok`, or with `?verbose` (and on failure) one line per check.</summary>
internal sealed class HealthChecks(IEnumerable<HealthCheck> checks)
{
    /// <summary>A check that takes longer has failed.</summary>
    private static readonly TimeSpan CheckTimeout = TimeSpan.FromSeconds(5);

    private readonly HealthCheck[] _checks = [.. checks];

    /// <summary>True for a health path; the part after it names one check.</summary>
    public static bool IsHealthPath(string path) =>
        IsAt(path, "/healthz") || IsAt(path, "/livez") || IsAt(path, "/readyz");

    /// <summary>Answers a health path.</summary>
    public async ValueTask HandleAsync(HttpContext context, string path)
    {
        var end = path.IndexOf('/', 1);
        var kind = end < 0 ? path[1..] : path[1..end];
        var only = end < 0 ? "" : path[(end + 1)..];
        var text = new StringBuilder();
        var failed = false;
        var found = only.Length is 0;
        foreach (var check in _checks)
        {
            if (kind == "livez" && !check.ForLiveness)
                continue;
            if (only.Length > 0 && check.Name != only)
                continue;
            found = true;
            var problem = await RunAsync(check, context.RequestAborted);
            failed |= problem is not null;
            text.Append(problem is null ? $"[+]{check.Name} ok\n" : $"[-]{check.Name} failed: {problem}\n");
        }
        if (!found)
        {
            await WriteAsync(context, 404, "404 page not found\n");
            return;
        }
        text.Append(failed ? $"{kind} check failed\n" : $"{kind} check passed\n");
        var verbose = context.Request.QueryString.HasValue && context.Request.Query.ContainsKey("verbose");
        await WriteAsync(context, failed ? 500 : 200, failed || verbose ? text.ToString() : "ok");
    }

    private static bool IsAt(string path, string root) =>
        path.StartsWith(root, StringComparison.Ordinal) && (path.Length == root.Length || path[root.Length] == '/');

    private static async ValueTask<string?> RunAsync(HealthCheck check, CancellationToken cancellationToken)
    {
        try
        {
            return await check.CheckAsync(cancellationToken).AsTask().WaitAsync(CheckTimeout, cancellationToken);
        }
        catch (TimeoutException)
        {
            return "no answer in time";
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            // The text goes to anybody who asks: it says what failed, not how.
            return error.GetType().Name;
        }
    }

    private static ValueTask WriteAsync(HttpContext context, int code, string text)
    {
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return Replies.WriteAsync(context, code, Encoding.UTF8.GetBytes(text), contentType: "text/plain; charset=utf-8");
    }
}
