using System.Globalization;
using System.Net;
using System.Text.Json;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Workloads;

/// <summary>
/// Follows a resource as a client library does: list, watch, on a broken stream watch on from the last revision at any server, on 410 list again.
/// </summary>
internal sealed class ApiFollower(ApiClient client, IReadOnlyList<ApiEndpoint> endpoints, History history, string resource, string ns, Random random)
{
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(6);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);
    private long _last;

    public Observer Observer { get; } = new() { Client = client.Id, Resource = resource, Namespace = ns };

    /// <summary>The last revision seen.</summary>
    public long Last => Volatile.Read(ref _last);

    public int Relists { get; private set; }

    public async Task RunAsync(CancellationToken cancellation)
    {
        history.Observers.Enqueue(Observer);
        try
        {
            while (true)
            {
                var list = await client.ListAsync(client.Endpoint(random), resource, ns, cancellation, record: false);
                if (list.Outcome != Outcome.Ok)
                {
                    await Task.Delay(Pause, cancellation);
                    continue;
                }
                Observer.Steps.Add(new ObserverStep(list, null));
                Relists++;
                See(list.ListRevision);
                while (!await WatchAsync(endpoints[random.Next(endpoints.Count)], cancellation))
                    await Task.Delay(Pause, cancellation);
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // The run is over.
        }
    }

    private void See(long revision)
    {
        Volatile.Write(ref _last, Math.Max(_last, revision));
        Observer.Last = _last;
    }

    /// <summary>One stream; true if it ended because its place is gone and a new list is needed.</summary>
    private async Task<bool> WatchAsync(ApiEndpoint to, CancellationToken cancellation)
    {
        var stream = new WatchStream { Endpoint = to.Name, From = Last };
        Observer.Steps.Add(new ObserverStep(null, stream));
        var path = $"api/v1/{(ns.Length == 0 ? "" : $"namespaces/{ns}/")}{resource}?watch=1&allowWatchBookmarks=true"
            + string.Create(CultureInfo.InvariantCulture, $"&timeoutSeconds={5 + random.Next(15)}&resourceVersion={stream.From}");
        using var quiet = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            // A server that is cut off says nothing and ends nothing: after a while of silence another one is asked.
            quiet.CancelAfter(Silence);
            using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(path, UriKind.Relative));
            using var response = await to.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, quiet.Token);
            stream.End = $"{(int)response.StatusCode}";
            if (response.StatusCode == HttpStatusCode.Gone)
                return true;
            if (!response.IsSuccessStatusCode)
                return false;
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(quiet.Token));
            while (await reader.ReadLineAsync(quiet.Token) is { } line)
            {
                quiet.CancelAfter(Silence);
                if (Take(stream, line))
                    return true;
            }
            stream.End = "closed";
        }
        catch (Exception error) when (!cancellation.IsCancellationRequested && error is HttpRequestException or IOException or OperationCanceledException or JsonException)
        {
            // The last line may have come only in part: what was not understood was not seen.
            stream.End = error.GetType().Name;
        }
        return false;
    }

    private bool Take(WatchStream stream, string line)
    {
        using var document = JsonDocument.Parse(line);
        var obj = document.RootElement.GetProperty("object");
        var type = document.RootElement.GetProperty("type").GetString();
        if (type == "ERROR")
        {
            stream.End = obj.GetRawText();
            return obj.TryGetProperty("code", out var code) && code.GetInt32() == 410;
        }
        var revision = ApiObjects.RevisionOf(obj);
        stream.Events.Add(type == "BOOKMARK"
            ? new WatchEvent(history.Now(), WatchEventType.Bookmark, revision, null)
            : new WatchEvent(history.Now(), Enum.Parse<WatchEventType>(type!, ignoreCase: true), revision, ApiObjects.Read(resource, obj)));
        See(revision);
        return false;
    }
}
