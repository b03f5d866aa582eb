using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography.X509Certificates;

namespace OrleansCluster.Benchmarks;

/// <summary>
/// Raw bytes over pooled HTTPS connections, light enough that it is not what is measured: no model is built, answers are read into one buffer
/// per caller and thrown away unless asked for.
/// </summary>
internal sealed class LoadClient : IDisposable
{
    private static readonly MediaTypeHeaderValue Json = new("application/json");

    private readonly HttpClient _http;
    private readonly Version _version;

    public LoadClient(ServerProcess server, bool http2)
    {
        Server = server;
        Http2 = http2;
        _version = http2 ? HttpVersion.Version20 : HttpVersion.Version11;
        var pki = Path.Combine(server.Data, "pki");
        var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            MaxConnectionsPerServer = http2 ? 8 : 1024,
            EnableMultipleHttp2Connections = true,
            AutomaticDecompression = DecompressionMethods.None,
            SslOptions =
            {
                ClientCertificates = [X509Certificate2.CreateFromPemFile(Path.Combine(pki, "admin.crt"), Path.Combine(pki, "admin.key"))],
                CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust,
                    CustomTrustStore = { X509CertificateLoader.LoadCertificateFromFile(Path.Combine(pki, "ca.crt")) },
                    RevocationMode = X509RevocationMode.NoCheck,
                },
            },
        };
        _http = new HttpClient(handler) { BaseAddress = server.Address, Timeout = Timeout.InfiniteTimeSpan };
    }

    public ServerProcess Server { get; }

    public bool Http2 { get; }

    /// <summary>Sends one request and returns the answer's body; throws for anything but 2xx.</summary>
    public async Task<byte[]> SendAsync(HttpMethod method, string path, byte[]? body, CancellationToken cancellationToken, MediaTypeHeaderValue? type = null)
    {
        using var response = await StartAsync(method, path, body, HttpCompletionOption.ResponseContentRead, cancellationToken, type);
        var bytes = await response.Content.ReadAsByteArrayAsync(cancellationToken);
        return response.IsSuccessStatusCode
            ? bytes
            : throw new InvalidOperationException($"{method} {path}: {(int)response.StatusCode} {System.Text.Encoding.UTF8.GetString(bytes)}");
    }

    /// <summary>Starts a request whose body is read by the caller, such as a watch.</summary>
    public Task<HttpResponseMessage> StreamAsync(string path, CancellationToken cancellationToken) =>
        StartAsync(HttpMethod.Get, path, null, HttpCompletionOption.ResponseHeadersRead, cancellationToken, null);

    /// <summary>Runs callers side by side until the time is over or <paramref name="most"/> operations are done.</summary>
    /// <param name="callers">How many at once.</param>
    /// <param name="duration">For how long; null: until all are done.</param>
    /// <param name="most">Most operations.</param>
    /// <param name="operation">One operation, told its number.</param>
    /// <param name="cancellationToken">Ends the run.</param>
    public async Task<LoadResult> RunAsync(
        int callers, TimeSpan? duration, int most, Func<int, CancellationToken, Task> operation, CancellationToken cancellationToken)
    {
        var next = -1;
        var end = duration is { } d ? Stopwatch.GetTimestamp() + (long)(d.TotalSeconds * Stopwatch.Frequency) : long.MaxValue;
        var serverCpu = Server.CpuTime;
        var ownCpu = Process.GetCurrentProcess().TotalProcessorTime;
        var begin = Stopwatch.GetTimestamp();
        var latencies = await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(
            async () =>
            {
                var own = new List<double>();
                while (Stopwatch.GetTimestamp() < end)
                {
                    var number = Interlocked.Increment(ref next);
                    if (number >= most)
                        break;
                    var start = Stopwatch.GetTimestamp();
                    await operation(number, cancellationToken);
                    own.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                }
                return own;
            },
            cancellationToken)));
        var elapsed = Stopwatch.GetElapsedTime(begin);
        double[] all = [.. latencies.SelectMany(l => l).Order()];
        return new LoadResult(
            all.Length, elapsed, all.Length == 0 ? 0 : all[all.Length / 2], all.Length == 0 ? 0 : all[all.Length * 99 / 100],
            Server.CpuTime - serverCpu, Process.GetCurrentProcess().TotalProcessorTime - ownCpu);
    }

    public void Dispose() => _http.Dispose();

    private async Task<HttpResponseMessage> StartAsync(
        HttpMethod method, string path, byte[]? body, HttpCompletionOption completion, CancellationToken cancellationToken, MediaTypeHeaderValue? type)
    {
        using var request = new HttpRequestMessage(method, path) { Version = _version, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
        if (body is not null)
            request.Content = new ByteArrayContent(body) { Headers = { ContentType = type ?? Json } };
        return await _http.SendAsync(request, completion, cancellationToken);
    }
}

/// <summary>What a load run came to. Latencies in ms.</summary>
internal sealed record LoadResult(int Count, TimeSpan Elapsed, double P50, double P99, TimeSpan ServerCpu, TimeSpan ClientCpu)
{
    public double Rate => Count / Elapsed.TotalSeconds;

    /// <summary>Server CPU per operation, µs.</summary>
    public double ServerCpuEach => Count == 0 ? 0 : ServerCpu.TotalMicroseconds / Count;

    /// <summary>The load generator's own CPU per operation, µs: what it takes from the server on a machine they share.</summary>
    public double ClientCpuEach => Count == 0 ? 0 : ClientCpu.TotalMicroseconds / Count;
}
