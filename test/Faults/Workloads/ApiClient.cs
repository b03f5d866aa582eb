using System.Net;
using System.Text;
using System.Text.Json;
using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Workloads;

/// <summary>An API server as one client reaches it.</summary>
/// <param name="Name">For the history.</param>
/// <param name="Http">Trusts it and has the credentials. Must not send anything twice by itself.</param>
internal sealed record ApiEndpoint(string Name, HttpClient Http);

/// <summary>One client: sends plain requests, each exactly once, and records what came of them.</summary>
internal sealed class ApiClient(int id, IReadOnlyList<ApiEndpoint> endpoints, History history)
{
    public static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(8);

    public int Id => id;

    public async Task<Operation> GetAsync(ApiEndpoint to, string resource, string key, bool anyState, CancellationToken cancellation)
    {
        var operation = await SendAsync(to, HttpMethod.Get, Path(resource, key) + (anyState ? "?resourceVersion=0" : ""), null, Begin(Verb.Get, resource, key), cancellation);
        // For a read, "there is none" is an answer like any other.
        if (operation.Code == 404)
            operation = operation with { Outcome = Outcome.Ok };
        return Record(operation with { AnyState = anyState });
    }

    public async Task<Operation> ListAsync(ApiEndpoint to, string resource, string ns, CancellationToken cancellation, bool anyState = false, bool record = true)
    {
        var path = ns.Length == 0 ? $"api/v1/{resource}" : $"api/v1/namespaces/{ns}/{resource}";
        var operation = await SendAsync(to, HttpMethod.Get, path + (anyState ? "?resourceVersion=0" : ""), null, Begin(Verb.List, resource, ns), cancellation);
        operation = operation with { AnyState = anyState };
        return record ? Record(operation) : operation;
    }

    public async Task<Operation> CreateAsync(ApiEndpoint to, string resource, string key, string body, Change change, CancellationToken cancellation)
    {
        var path = Path(resource, key);
        return Record(await SendAsync(
            to, HttpMethod.Post, path[..path.LastIndexOf('/')], Json(body), Begin(Verb.Create, resource, key) with { Change = change }, cancellation));
    }

    public async Task<Operation> UpdateAsync(ApiEndpoint to, string resource, string key, string body, Change change, long? expected, CancellationToken cancellation) =>
        Record(await SendAsync(
            to, HttpMethod.Put, Path(resource, key), Json(body), Begin(Verb.Update, resource, key) with { Change = change, ExpectedRevision = expected }, cancellation));

    /// <param name="to">Server.</param>
    /// <param name="resource">Resource.</param>
    /// <param name="key">Object.</param>
    /// <param name="kind">`merge`, `json` or `strategic-merge`.</param>
    /// <param name="body">The patch.</param>
    /// <param name="change">What it does.</param>
    /// <param name="expected">Revision demanded in the patch.</param>
    /// <param name="cancellation">Gives up.</param>
    public async Task<Operation> PatchAsync(
        ApiEndpoint to, string resource, string key, string kind, string body, Change change, long? expected, CancellationToken cancellation) =>
        Record(await SendAsync(
            to, HttpMethod.Patch, Path(resource, key), Json(body, $"application/{kind}-patch+json"),
            Begin(Verb.Patch, resource, key) with { Change = change, ExpectedRevision = expected }, cancellation));

    public async Task<Operation> DeleteAsync(ApiEndpoint to, string resource, string key, string options, CancellationToken cancellation) =>
        // The body is what keeps the HTTP stack from sending it again over another connection.
        Record(await SendAsync(to, HttpMethod.Delete, Path(resource, key), Json(options), Begin(Verb.Delete, resource, key) with { Change = Change.Delete }, cancellation));

    public ApiEndpoint Endpoint(Random random) => endpoints[random.Next(endpoints.Count)];

    private static string Path(string resource, string key)
    {
        var slash = key.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? $"api/v1/{resource}/{key}" : $"api/v1/namespaces/{key[..slash]}/{resource}/{key[(slash + 1)..]}";
    }

    private static StringContent Json(string body, string type = "application/json") => new(body, Encoding.UTF8, type);

    private Operation Begin(Verb verb, string resource, string key) => new()
    {
        Id = history.NextId(),
        Client = id,
        Verb = verb,
        Resource = resource,
        Key = key,
        Invoked = history.Now(),
        Completed = 0,
        Outcome = Outcome.Unknown,
    };

    private Operation Record(Operation operation)
    {
        history.Add(operation);
        return operation;
    }

    private async Task<Operation> SendAsync(ApiEndpoint to, HttpMethod method, string path, HttpContent? content, Operation operation, CancellationToken cancellation)
    {
        operation = operation with { Endpoint = to.Name };
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(RequestTimeout);
        try
        {
            using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative)) { Content = content };
            using var response = await to.Http.SendAsync(request, limit.Token);
            var body = await response.Content.ReadAsByteArrayAsync(limit.Token);
            operation = operation with { Completed = history.Now(), Code = (int)response.StatusCode };
            return Understand(operation, response, body);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or OperationCanceledException or JsonException)
        {
            // A request that never got a connection was never sent; of everything else nobody knows.
            var refused = error is HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.SecureConnectionError };
            return operation with
            {
                Completed = history.Now(),
                Outcome = refused ? Outcome.Failed : Outcome.Unknown,
                Reason = refused ? "Refused" : error.GetType().Name,
            };
        }
    }

    private static Operation Understand(Operation operation, HttpResponseMessage response, byte[] body)
    {
        if (!response.IsSuccessStatusCode)
        {
            return operation with
            {
                Outcome = response.StatusCode >= HttpStatusCode.InternalServerError ? Outcome.Unknown : Outcome.Failed,
                Reason = ReasonOf(body),
            };
        }
        using var document = JsonDocument.Parse(body);
        var root = document.RootElement;
        operation = operation with { Outcome = Outcome.Ok };
        if (operation.Verb == Verb.List)
        {
            return operation with
            {
                ListRevision = ApiObjects.RevisionOf(root),
                Items = [.. root.GetProperty("items").EnumerateArray().Select(i => ApiObjects.Read(operation.Resource, i))],
            };
        }
        if (operation.Verb != Verb.Delete)
            return operation with { Answer = ApiObjects.Read(operation.Resource, root) };
        var uid = root.GetProperty("kind").GetString() == "Status"
            ? root.TryGetProperty("details", out var details) && details.TryGetProperty("uid", out var u) ? u.GetString() : null
            : root.GetProperty("metadata").GetProperty("uid").GetString();
        return operation with { DeletedUid = uid };
    }

    private static string ReasonOf(byte[] body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            var reason = document.RootElement.TryGetProperty("reason", out var r) ? r.GetString() ?? "" : "";
            // Anything unusual is told in full.
            return reason is "Conflict" or "AlreadyExists" or "NotFound" ? reason : $"{reason}: {(document.RootElement.TryGetProperty("message", out var m) ? m.GetString() : "")}";
        }
        catch (JsonException)
        {
            return Encoding.UTF8.GetString(body, 0, Math.Min(body.Length, 200));
        }
    }
}
