using System.Text;

namespace OrleansCluster.Operations;

/// <summary>
/// `/healthz`, `/livez` and `/readyz` as kube-apiserver has them: `ok`, or with `?verbose`, and always on failure, one line per check; `?exclude=NAME` leaves
/// one out, and `/readyz/NAME` asks for one alone. The checks of one answer run side by side.
/// </summary>
/// <param name="checks">All checks of this process.</param>
/// <param name="shutdown">A process that is shutting down is alive, but not ready.</param>
/// <param name="time">Clock of the time limit.</param>
public sealed class HealthChecks(IEnumerable<HealthCheck> checks, GracefulShutdown shutdown, TimeProvider time)
{
    /// <summary>A check that takes longer has failed.</summary>
    public static readonly TimeSpan CheckTimeout = TimeSpan.FromSeconds(5);

    private const string ShutdownName = "shutdown";

    private readonly HealthCheck[] _checks =
    [
        HealthCheck.Of("ping", HealthImpact.Liveness, static () => null),
        .. checks,
        HealthCheck.Of(ShutdownName, HealthImpact.Readiness, () => shutdown.HasBegun ? "the process is shutting down" : null),
    ];

    /// <summary>True for a health path; the part after it names one check.</summary>
    /// <param name="path">The request's path.</param>
    public static bool IsHealthPath(string path) =>
        IsAt(path, "/healthz") || IsAt(path, "/livez") || IsAt(path, "/readyz");

    /// <summary>Answers a health path.</summary>
    /// <param name="path">The request's path, for which <see cref="IsHealthPath"/> is true.</param>
    /// <param name="verbose">The query has `verbose`.</param>
    /// <param name="excluded">The query's values of `exclude`.</param>
    /// <param name="cancellationToken">The client is gone.</param>
    /// <returns>
    /// The status code and the text: 200 if nothing counted failed, 404 for a check that does not exist, 503 while shutting down, else 500.
    /// </returns>
    public async ValueTask<HealthAnswer> AnswerAsync(
        string path, bool verbose, IReadOnlyCollection<string?> excluded, CancellationToken cancellationToken)
    {
        var end = path.IndexOf('/', 1);
        var kind = end < 0 ? path[1..] : path[1..end];
        var only = end < 0 ? "" : path[(end + 1)..];
        HealthCheck[] asked = [.. _checks.Where(c => (kind == "readyz" || c.Impact == HealthImpact.Liveness) && (only.Length == 0 || c.Name == only))];
        if (asked.Length == 0)
            return new HealthAnswer(404, "404 page not found\n");

        var problems = await Task.WhenAll(asked.Select(check => excluded.Contains(check.Name) ? Task.FromResult<string?>(null) : RunAsync(check, cancellationToken)));
        var text = new StringBuilder();
        var code = 200;
        for (var i = 0; i < asked.Length; i++)
        {
            var (check, problem) = (asked[i], problems[i]);
            if (excluded.Contains(check.Name))
                text.Append($"[+]{check.Name} excluded: ok\n");
            else if (problem is null)
                text.Append($"[+]{check.Name} ok\n");
            else if (check.Impact == HealthImpact.Report)
                text.Append($"[!]{check.Name} not counted: {problem}\n");
            else
                text.Append($"[-]{check.Name} failed: {problem}\n");
            if (problem is not null && check.Impact != HealthImpact.Report)
                code = check.Name == ShutdownName || code == 503 ? 503 : 500;
        }
        string[] unknown = [.. excluded.Where(name => _checks.All(c => c.Name != name)).Select(name => $"\"{name}\"")];
        if (unknown.Length > 0)
            text.Append($"warn: some health checks cannot be excluded: no matches for {string.Join(",", unknown)}\n");
        text.Append(code == 200 ? $"{kind} check passed\n" : $"{kind} check failed\n");
        return new HealthAnswer(code, code != 200 || verbose ? text.ToString() : "ok");
    }

    private static bool IsAt(string path, string root) =>
        path.StartsWith(root, StringComparison.Ordinal) && (path.Length == root.Length || path[root.Length] == '/');

    private async Task<string?> RunAsync(HealthCheck check, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            // The token may be ignored by what is asked; the wait is not.
            return await check.CheckAsync(limit.Token).AsTask().WaitAsync(CheckTimeout, time, cancellationToken);
        }
        catch (TimeoutException)
        {
            return "no answer in time";
        }
        catch (Exception error) when (error is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            // The text goes to anybody who asks: it says what failed, not how.
            return error.GetType().Name;
        }
        finally
        {
            await limit.CancelAsync();
        }
    }
}

/// <summary>An answer of a health endpoint.</summary>
/// <param name="Code">HTTP status code.</param>
/// <param name="Text">Body, `text/plain`.</param>
public readonly record struct HealthAnswer(int Code, string Text);
