using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Faults.Workloads;

/// <summary>
/// One client that writes rising numbers into one object, each through the next API server, and reads each back through the one after that. So it sees at once
/// a request that fails, a write that is lost, and a read or write that somebody answers out of an old state.
/// </summary>
internal sealed class SteadyWriter : IAsyncDisposable
{
    private const string Objects = "api/v1/namespaces/default/configmaps";

    /// <summary>Longer than API servers go on trying, so that it is they who give up.</summary>
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(40);

    private readonly IReadOnlyList<ApiEndpoint> _servers;
    private readonly string _name;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _work;
    private int _written;
    private long _slowest;

    public SteadyWriter(IReadOnlyList<ApiEndpoint> servers, string name)
    {
        _servers = servers;
        _name = name;
        _work = Task.Run(WorkAsync);
    }

    /// <summary>What was not as it should be.</summary>
    public List<string> Failures { get; } = [];

    /// <summary>The last number that was acknowledged.</summary>
    public int Written => Volatile.Read(ref _written);

    public TimeSpan Slowest => TimeSpan.FromTicks(Volatile.Read(ref _slowest));

    /// <summary>Waits until so many further numbers are written.</summary>
    public async Task GoesOnAsync(int count)
    {
        var goal = Written + count;
        await EndToEnd.Harness.Eventually.GetAsync($"number {goal} is written", _ => Task.FromResult(Written), written => written >= goal || _work.IsCompleted, TimeSpan.FromSeconds(120));
    }

    public async Task StopAsync()
    {
        await _stop.CancelAsync();
        await _work;
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _stop.Dispose();
    }

    private async Task WorkAsync()
    {
        await SendAsync(0, HttpMethod.Post, Objects, $$"""{"metadata":{"name":"{{_name}}"},"data":{"n":"0"} }""", "application/json");
        // What is broken stays broken: a few failures tell as much as thousands.
        for (var n = 1; !_stop.IsCancellationRequested && Failures.Count < 5; n++)
        {
            await SendAsync(n, HttpMethod.Patch, $"{Objects}/{_name}", $$"""{"data":{"n":"{{n}}"} }""", "application/merge-patch+json");
            var read = await SendAsync(n + 1, HttpMethod.Get, $"{Objects}/{_name}", null, "");
            if (read is not null && (string?)read["data"]?["n"] != n.ToString(CultureInfo.InvariantCulture))
                Failures.Add($"{n} was acknowledged, and then {read["data"]?.ToJsonString()} read");
            Volatile.Write(ref _written, n);
        }
    }

    private async Task<JsonNode?> SendAsync(int number, HttpMethod method, string path, string? body, string type)
    {
        var server = _servers[number % _servers.Count];
        using var limit = new CancellationTokenSource(Limit);
        using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative));
        if (body is not null)
            request.Content = new StringContent(body, Encoding.UTF8, type);
        var began = Stopwatch.GetTimestamp();
        try
        {
            using var answer = await server.Http.SendAsync(request, limit.Token);
            if (answer.IsSuccessStatusCode)
                return await answer.Content.ReadFromJsonAsync<JsonNode>(limit.Token);
            Failures.Add($"{server.Name}: {method} {number}: {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(limit.Token)}");
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException)
        {
            Failures.Add($"{server.Name}: {method} {number}: {error.Message} after {Stopwatch.GetElapsedTime(began).TotalSeconds:0.0} s");
        }
        finally
        {
            Volatile.Write(ref _slowest, Math.Max(_slowest, Stopwatch.GetElapsedTime(began).Ticks));
        }
        return null;
    }
}
