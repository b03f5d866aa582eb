using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.Faults.Workloads;

/// <summary>
/// Clients that create, patch, replace, read and delete objects of their own, and watches that see all of it, each change once and in order. One that finds
/// no server at an address goes to the next, as behind any load balancer. Everything else that is no success is a failure, and kept.
/// </summary>
internal sealed class RestLoad : IAsyncDisposable
{
    private const string ConfigMaps = "api/v1/namespaces/default/configmaps";
    private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly IReadOnlyList<ApiEndpoint> _servers;
    private readonly CancellationTokenSource _stopWatching = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly Task[] _workers;
    private readonly Follower[] _followers;
    private readonly Task[] _following;
    private int _created;
    private int _deleted;
    private int _answered;
    private long _slowest;
    private readonly bool _mayBeUnknown;
    private int _unknown;

    /// <param name="servers">API servers.</param>
    /// <param name="workers">Clients that write, each one request at a time.</param>
    /// <param name="watches">Clients that watch, each one stream at a time.</param>
    /// <param name="mayBeUnknown">True: an answer 504 is counted, and is no failure. Not with watches, which would not know what to expect.</param>
    public RestLoad(IReadOnlyList<ApiEndpoint> servers, int workers, int watches = 0, bool mayBeUnknown = false)
    {
        _servers = servers;
        _mayBeUnknown = mayBeUnknown;
        _followers = [.. Enumerable.Range(0, watches).Select(i => new Follower(this, i))];
        _following = [.. _followers.Select(f => Task.Run(() => f.RunAsync(_stopWatching.Token), TestContext.Current.CancellationToken))];
        _workers = [.. Enumerable.Range(0, workers).Select(i => Task.Run(() => WorkAsync(i), TestContext.Current.CancellationToken))];
    }

    public ConcurrentQueue<string> Failures { get; } = [];

    public int Answered => Volatile.Read(ref _answered);

    public TimeSpan Slowest => TimeSpan.FromTicks(Volatile.Read(ref _slowest));

    public Task UntilAsync(int requests) =>
        Eventually.TrueAsync($"{requests} requests are answered", _ => Task.FromResult(Answered >= requests), TimeSpan.FromSeconds(120));

    /// <summary>Events that watches have seen, and the streams it took.</summary>
    public int Events => _followers.Sum(f => f.Events);

    public int Streams => _followers.Sum(f => f.Streams);

    /// <summary>Times a watch had to list again.</summary>
    public int Relists => _followers.Sum(f => f.Relists);

    /// <summary>Ends the clients, and waits until every watch has seen all they did.</summary>
    public async Task StopAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_workers);
        if (Failures.IsEmpty && _followers.Length > 0)
        {
            var (names, _) = await Follower.ListAsync(_servers[0], TestContext.Current.CancellationToken);
            await Eventually.GetAsync(
                $"every watch has seen {_created} creations, {_deleted} removals, and {names.Count} objects are left",
                _ => Task.FromResult(string.Join("; ", _followers.AsEnumerable())), _ => _followers.All(f => f.HasSeen(_created, _deleted, names)), TimeSpan.FromSeconds(20));
        }
        await EndWatchesAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_workers);
        await EndWatchesAsync();
        _stop.Dispose();
        _stopWatching.Dispose();
    }

    public static HttpRequestMessage Request(HttpMethod method, string path, JsonNode? body) => new(method, new Uri(path, UriKind.Relative))
    {
        Content = body is null
            ? null
            : new StringContent(
                body.ToJsonString(), Encoding.UTF8, method != HttpMethod.Patch ? "application/json" : body is JsonArray ? "application/json-patch+json" : "application/merge-patch+json"),
    };

    private async Task EndWatchesAsync()
    {
        await _stopWatching.CancelAsync();
        await Task.WhenAll(_following);
    }

    /// <summary>Requests answered 504: what a killed silo had committed without answering, nobody can tell from another's write.</summary>
    public int Unknown => Volatile.Read(ref _unknown);

    private void Fail(string what) => Failures.Enqueue(string.Create(CultureInfo.InvariantCulture, $"{DateTime.UtcNow:HH:mm:ss.fff} {what}"));

    private async Task WorkAsync(int number)
    {
        var server = number;
        // What comes and goes before a watch's list is seen by nobody.
        await Task.WhenAll(_followers.Select(f => f.Listed));
        for (var i = 0; !_stop.IsCancellationRequested; i++)
        {
            // A round ends with the first answer that is not a success, so that one is not counted again as its followers' failures.
            var name = $"load-{number}-{i}";
            var one = $"{ConfigMaps}/{name}";
            if (await TryAsync(HttpMethod.Post, ConfigMaps, new JsonObject { ["metadata"] = new JsonObject { ["name"] = name } }) is null)
                continue;
            Interlocked.Increment(ref _created);
            if (await TryAsync(HttpMethod.Patch, one, new JsonObject { ["data"] = new JsonObject { ["a"] = $"{i}" } }) is null
                || await TryAsync(HttpMethod.Patch, one, new JsonArray(
                    new JsonObject { ["op"] = "move", ["from"] = "/data/a", ["path"] = "/data/b" },
                    new JsonObject { ["op"] = "add", ["path"] = "/data/a", ["value"] = "x" })) is null
                || await TryAsync(HttpMethod.Get, one, null) is not { } seen)
            {
                continue;
            }
            var read = JsonNode.Parse(seen)!;
            if ((string?)read["data"]?["b"] != $"{i}")
                Fail($"{one} is not what was acknowledged: {seen}");
            // With the resourceVersion that was read: what is sent twice by anybody on the way would be refused as a conflict.
            read["data"] = new JsonObject { ["c"] = $"{i}" };
            if (await TryAsync(HttpMethod.Put, one, read) is not { } replaced)
                continue;
            if ((string?)JsonNode.Parse(replaced)!["data"]?["c"] != $"{i}")
                Fail($"{one} is not what it was replaced by: {replaced}");
            if (await TryAsync(HttpMethod.Delete, one, null) is not null)
                Interlocked.Increment(ref _deleted);
        }

        async Task<string?> TryAsync(HttpMethod method, string path, JsonNode? body)
        {
            var begin = Stopwatch.GetTimestamp();
            try
            {
                while (true)
                {
                    try
                    {
                        using var request = Request(method, path, body);
                        using var response = await _servers[server % _servers.Count].Http.SendAsync(request, TestContext.Current.CancellationToken);
                        var text = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
                        if (response.Headers.ConnectionClose == true)
                            server++; // It is stopping and asks for another one, as it tells a load balancer by its readiness.
                        if (response.IsSuccessStatusCode)
                            return text;
                        if (_mayBeUnknown && response.StatusCode == HttpStatusCode.GatewayTimeout)
                            Interlocked.Increment(ref _unknown);
                        else
                            Fail($"{method} {path} at {_servers[server % _servers.Count].Name}: {(int)response.StatusCode} {text}");
                        return null;
                    }
                    catch (HttpRequestException error) when (error.HttpRequestError is HttpRequestError.ConnectionError or HttpRequestError.SecureConnectionError)
                    {
                        server++; // Nothing has been sent.
                        await Task.Delay(50, TestContext.Current.CancellationToken);
                    }
                    catch (HttpRequestException error)
                    {
                        Fail($"{method} {path} at {_servers[server % _servers.Count].Name}: {error.HttpRequestError} {error}");
                        return null;
                    }
                }
            }
            finally
            {
                Interlocked.Increment(ref _answered);
                var took = Stopwatch.GetElapsedTime(begin).Ticks;
                for (var known = Volatile.Read(ref _slowest); took > known; known = Volatile.Read(ref _slowest))
                    Interlocked.CompareExchange(ref _slowest, took, known);
            }
        }
    }

    /// <summary>
    /// One list, then one watch after the other from where the last one ended; a change that comes twice, out of order, or not at all is a failure. A server
    /// that has just started does not have what was before its first list and says so by 410, as any client expects; then there is another list.
    /// </summary>
    private sealed class Follower(RestLoad load, int number)
    {
        private readonly TaskCompletionSource _listed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private long _last;

        public Task Listed => _listed.Task;

        private readonly HashSet<string> _names = new(StringComparer.Ordinal);
        private int _added;
        private int _deleted;

        public int Relists { get; private set; }

        public int Events { get; private set; }

        public int Streams { get; private set; }

        public async Task RunAsync(CancellationToken cancellation)
        {
            var server = number;
            try
            {
                while (true)
                {
                    var endpoint = load._servers[server % load._servers.Count];
                    try
                    {
                        if (_last == 0)
                        {
                            (var names, _last) = await ListAsync(endpoint, cancellation);
                            lock (_names)
                            {
                                _names.Clear();
                                _names.UnionWith(names);
                            }
                        }
                        _listed.TrySetResult();
                        if (await WatchAsync(endpoint, cancellation))
                        {
                            // It has ended the stream as one that stops does, or after the time asked for.
                            server++;
                            continue;
                        }
                        Relists++;
                        _last = 0;
                    }
                    catch (HttpRequestException error) when (error.HttpRequestError is HttpRequestError.ConnectionError or HttpRequestError.SecureConnectionError)
                    {
                        server++;
                        await Task.Delay(50, cancellation);
                    }
                }
            }
            catch (Exception) when (cancellation.IsCancellationRequested)
            {
                // The run is over.
                _listed.TrySetResult();
            }
            catch (Exception error)
            {
                _listed.TrySetResult();
                load.Fail($"watch {number} at {load._servers[server % load._servers.Count].Name} after revision {_last}: {error}");
            }
        }

        /// <summary>Its objects are those that are there; every change was seen, as far as the follower did not have to list again.</summary>
        public bool HasSeen(int created, int deleted, HashSet<string> names)
        {
            lock (_names)
                return _names.SetEquals(names) && (Relists > 0 || (_added == created && _deleted == deleted));
        }

        public override string ToString()
        {
            lock (_names)
                return $"{_added} creations, {_deleted} removals, {_names.Count} objects left after {Relists} further lists";
        }

        public static async Task<(HashSet<string> Names, long Revision)> ListAsync(ApiEndpoint endpoint, CancellationToken cancellation)
        {
            var list = JsonNode.Parse(await endpoint.Http.GetStringAsync(new Uri(ConfigMaps, UriKind.Relative), cancellation))!;
            return (list["items"]!.AsArray().Where(i => IsOurs(i!)).Select(i => Name(i!)).ToHashSet(StringComparer.Ordinal), Revision(list));
        }

        /// <summary>False if it must list again.</summary>
        private async Task<bool> WatchAsync(ApiEndpoint endpoint, CancellationToken cancellation)
        {
            var path = string.Create(CultureInfo.InvariantCulture, $"{ConfigMaps}?watch=1&resourceVersion={_last}&timeoutSeconds=20");
            using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(path, UriKind.Relative));
            using var response = await endpoint.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
            if (response.StatusCode == HttpStatusCode.Gone)
                return false;
            response.EnsureSuccessStatusCode();
            Streams++;
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellation));
            while (await reader.ReadLineAsync(cancellation) is { } line)
            {
                var change = JsonNode.Parse(line)!;
                var (type, revision) = ((string?)change["type"], Revision(change["object"]!));
                if (type == "ERROR" && (int?)change["object"]!["code"] == 410)
                    return false;
                if (type == "ERROR" || revision <= _last)
                    throw new InvalidOperationException($"after revision {_last} came {line}");
                _last = revision;
                if (!IsOurs(change["object"]!))
                    continue;
                Events++;
                lock (_names)
                {
                    var fits = type switch
                    {
                        "ADDED" => _names.Add(Name(change["object"]!)),
                        "DELETED" => _names.Remove(Name(change["object"]!)),
                        _ => _names.Contains(Name(change["object"]!)),
                    };
                    if (!fits)
                        throw new InvalidOperationException($"{line} does not follow from what came before");
                    _added += type == "ADDED" ? 1 : 0;
                    _deleted += type == "DELETED" ? 1 : 0;
                }
            }
            return true;
        }

        private static bool IsOurs(JsonNode obj) => Name(obj).StartsWith("load-", StringComparison.Ordinal);

        private static string Name(JsonNode obj) => (string)obj["metadata"]!["name"]!;

        private static long Revision(JsonNode obj) => long.Parse((string?)obj["metadata"]?["resourceVersion"] ?? "0", CultureInfo.InvariantCulture);
    }
}
