using System.Net;
using System.Text;

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>A span as a collector sees it.</summary>
/// <param name="Service">`service.name` of the process that sent it.</param>
/// <param name="Trace">Trace id, hexadecimal.</param>
/// <param name="Id">Span id.</param>
/// <param name="Parent">Span id of what caused it; empty for the first of a trace.</param>
/// <param name="Name">What it is called.</param>
internal sealed record Span(string Service, string Trace, string Id, string Parent, string Name);

/// <summary>
/// The least of an OpenTelemetry collector: takes OTLP over HTTP in protobuf form at `/v1/traces` and keeps the spans. Field numbers are those of
/// opentelemetry.proto.collector.trace.v1.
/// </summary>
internal sealed class TraceReceiver : IAsyncDisposable
{
    private readonly HttpListener _listener = new();
    private readonly Lock _gate = new();
    private readonly List<Span> _spans = [];
    private readonly Task _serving;

    /// <param name="port">A free port of loopback.</param>
    public TraceReceiver(int port)
    {
        Endpoint = $"http://127.0.0.1:{port}";
        _listener.Prefixes.Add(Endpoint + "/");
        _listener.Start();
        _serving = ServeAsync();
    }

    /// <summary>For OTEL_EXPORTER_OTLP_ENDPOINT.</summary>
    public string Endpoint { get; }

    public IReadOnlyList<Span> Spans
    {
        get
        {
            lock (_gate)
                return [.. _spans];
        }
    }

    public async ValueTask DisposeAsync()
    {
        _listener.Close();
        await _serving;
    }

    private async Task ServeAsync()
    {
        while (true)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception error) when (error is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            using var body = new MemoryStream();
            await context.Request.InputStream.CopyToAsync(body);
            if (context.Request.Url?.AbsolutePath == "/v1/traces")
                Keep(body.ToArray());
            context.Response.ContentType = "application/x-protobuf";
            context.Response.Close();
        }
    }

    private void Keep(byte[] request)
    {
        foreach (byte[] resourceSpans in Messages(request, 1))
        {
            string service = ServiceName(Messages(resourceSpans, 1).First());
            foreach (byte[] span in Messages(resourceSpans, 2).SelectMany(scope => Messages(scope, 2)))
            {
                var found = new Span(service, Hex(span, 1), Hex(span, 2), Hex(span, 4), Encoding.UTF8.GetString(Messages(span, 5).First()));
                lock (_gate)
                    _spans.Add(found);
            }
        }
    }

    private static string ServiceName(byte[] resource) => Messages(resource, 1)
        .Where(attribute => Encoding.UTF8.GetString(Messages(attribute, 1).First()) == "service.name")
        .Select(attribute => Encoding.UTF8.GetString(Messages(Messages(attribute, 2).First(), 1).First())).FirstOrDefault("");

    private static string Hex(byte[] message, int field) => Convert.ToHexString(Messages(message, field).FirstOrDefault([]));

    /// <summary>The values of a field that has a length: messages, texts, bytes.</summary>
    private static IEnumerable<byte[]> Messages(byte[] message, int field)
    {
        int at = 0;
        while (at < message.Length)
        {
            ulong key = Number(message, ref at);
            switch (key & 7)
            {
                case 0: Number(message, ref at); break;
                case 1: at += 8; break;
                case 5: at += 4; break;
                case 2:
                    int length = (int)Number(message, ref at);
                    if ((int)(key >> 3) == field)
                        yield return message[at..(at + length)];
                    at += length;
                    break;
                default: throw new FormatException($"no wire type: {key & 7}");
            }
        }
    }

    private static ulong Number(byte[] message, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte next = message[at++];
            value |= (ulong)(next & 127) << shift;
            if (next < 128)
                return value;
        }
    }
}
