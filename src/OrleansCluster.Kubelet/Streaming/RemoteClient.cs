using System.Text;
using System.Text.Json;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>What a client sent.</summary>
internal enum RemoteInputKind
{
    /// <summary>Bytes for standard input.</summary>
    Stdin,

    /// <summary>Standard input ends; output goes on.</summary>
    StdinEnd,

    /// <summary>The terminal has another size.</summary>
    Resize,

    /// <summary>The client left.</summary>
    Gone,
}

/// <summary>One piece of what a client sent; the data is valid until the next receive.</summary>
internal readonly record struct RemoteInput(RemoteInputKind Kind, ReadOnlyMemory<byte> Data = default, int Width = 0, int Height = 0);

/// <summary>
/// The client of an exec or attach, whatever protocol it speaks. One caller receives, any number send.
/// </summary>
internal abstract class RemoteClient : IAsyncDisposable
{
    /// <summary>The next thing the client does.</summary>
    public abstract ValueTask<RemoteInput> ReceiveAsync(CancellationToken cancellationToken);

    /// <summary>Sends output.</summary>
    public abstract ValueTask SendAsync(OutputStream stream, ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    /// <summary>Sends the outcome and says goodbye.</summary>
    public abstract ValueTask FinishAsync(RemoteOutcome outcome, CancellationToken cancellationToken);

    public abstract ValueTask DisposeAsync();

    /// <summary>A size as clients send it: <c>{"Width":80,"Height":24}</c>; null when it is none.</summary>
    protected static RemoteInput? ParseSize(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json);
        int width = 0, height = 0;
        try
        {
            while (reader.Read())
            {
                if (reader.TokenType != JsonTokenType.PropertyName)
                {
                    continue;
                }

                var isWidth = reader.ValueTextEquals("Width"u8);
                var isHeight = reader.ValueTextEquals("Height"u8);
                if (reader.Read() && reader.TokenType == JsonTokenType.Number && reader.TryGetInt32(out var number))
                {
                    width = isWidth ? number : width;
                    height = isHeight ? number : height;
                }
            }
        }
        catch (JsonException)
        {
            return null;
        }

        return width is > 0 and <= ushort.MaxValue && height is > 0 and <= ushort.MaxValue
            ? new RemoteInput(RemoteInputKind.Resize, default, width, height)
            : null;
    }
}

/// <summary>How a remote command ended.</summary>
/// <param name="ExitCode">Its exit code, if it ran.</param>
/// <param name="Error">Why it could not run, or null.</param>
internal readonly record struct RemoteOutcome(int ExitCode, string? Error = null)
{
    public bool IsSuccess => ExitCode == 0 && Error is null;

    /// <summary>The text of clients that know no Status (before v4).</summary>
    public string Text => Error ?? FormattableString.Invariant($"command terminated with non-zero exit code: exit status {ExitCode}");

    /// <summary>The Status object of the error channel.</summary>
    public byte[] ToStatus()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteStartObject("metadata");
            json.WriteEndObject();
            json.WriteString("status", IsSuccess ? "Success" : "Failure");
            if (!IsSuccess)
            {
                json.WriteString("message", Text);
                json.WriteString("reason", Error is null ? "NonZeroExitCode" : "InternalError");
                json.WriteStartObject("details");
                json.WriteStartArray("causes");
                json.WriteStartObject();
                if (Error is null)
                {
                    json.WriteString("reason", "ExitCode");
                }

                json.WriteString("message", Error ?? FormattableString.Invariant($"{ExitCode}"));
                json.WriteEndObject();
                json.WriteEndArray();
                json.WriteEndObject();
                if (Error is not null)
                {
                    json.WriteNumber("code", 500);
                }
            }

            json.WriteEndObject();
        }

        return buffer.ToArray();
    }

    public byte[] ToBytes(bool asStatus) => asStatus ? ToStatus() : IsSuccess ? [] : Encoding.UTF8.GetBytes(Text);
}
