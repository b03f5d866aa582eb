using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO.Pipelines;

namespace OrleansCluster.Kubelet.Streaming;

/// <summary>One stream of a <see cref="SpdyConnection"/>, opened by the client.</summary>
internal sealed class SpdyStream(SpdyConnection connection, uint id, IReadOnlyDictionary<string, string> headers)
{
    /// <summary>What a stream may hold unread; then the whole connection waits, as no flow control is spoken.</summary>
    private const int MaxBufferedBytes = 1 << 20;

    private readonly Pipe _input = new(new PipeOptions(pauseWriterThreshold: MaxBufferedBytes, resumeWriterThreshold: MaxBufferedBytes / 2));
    private int _finished;

    public uint Id => id;

    public IReadOnlyDictionary<string, string> Headers => headers;

    /// <summary>What the client sends, to its end.</summary>
    public PipeReader Input => _input.Reader;

    /// <summary>Sends data.</summary>
    public async Task WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        while (data.Length > 0)
        {
            var part = data[..Math.Min(data.Length, SpdyConnection.MaxDataBytes)];
            await connection.SendDataAsync(id, part, finish: false, cancellationToken);
            data = data[part.Length..];
        }
    }

    /// <summary>Ends this side's direction; once.</summary>
    public Task FinishAsync(CancellationToken cancellationToken) => Interlocked.Exchange(ref _finished, 1) == 0
        ? connection.SendDataAsync(id, ReadOnlyMemory<byte>.Empty, finish: true, cancellationToken)
        : Task.CompletedTask;

    internal async ValueTask ReceiveAsync(ReadOnlyMemory<byte> data, bool finished, CancellationToken cancellationToken)
    {
        if (data.Length > 0)
        {
            await _input.Writer.WriteAsync(data, cancellationToken);
        }

        if (finished)
        {
            await _input.Writer.CompleteAsync();
        }
    }

    internal void Abort(Exception? error) => _input.Writer.Complete(error);
}

/// <summary>
/// The server's side of SPDY/3.1 as Kubernetes clients use it: the client opens streams, data goes both ways, no flow control, no push, no priorities.
/// </summary>
/// <remarks>
/// <para>Frames: control frames begin <c>80 03</c>, type, flags, 24-bit length; data frames with a 31-bit stream id, flags, 24-bit length. Flag 1 ends a
/// direction.</para>
/// <para>Header blocks are one zlib stream per direction. Reading: see <see cref="SpdyHeaders"/>. Writing: nothing is compressed; every block is a
/// stored deflate block followed by an empty one, the sync flush for which the client's reader waits.</para>
/// </remarks>
internal sealed class SpdyConnection(Stream transport) : IDisposable
{
    public const int MaxDataBytes = 32 * 1024;

    private const int HeaderBytes = 8;
    private const int MaxControlBytes = 64 * 1024;
    private const byte Finish = 1;
    private const ushort SynStream = 1, SynReply = 2, ResetStream = 3, Ping = 6, GoAway = 7;

    private readonly ConcurrentDictionary<uint, SpdyStream> _streams = new();
    private readonly SemaphoreSlim _sending = new(1);
    private readonly SpdyHeaders _headers = new();
    private readonly byte[] _send = new byte[HeaderBytes + MaxDataBytes];
    private bool _replied;

    /// <summary>Reads frames until the client leaves; each stream it opens is handed over before its data.</summary>
    public async Task RunAsync(Func<SpdyStream, Task> opened, CancellationToken cancellationToken)
    {
        var header = new byte[HeaderBytes];
        Exception? failure = null;
        try
        {
            while (await ReadAsync(header, cancellationToken))
            {
                var flags = header[4];
                var length = (header[5] << 16) | (header[6] << 8) | header[7];
                if ((header[0] & 0x80) == 0)
                {
                    await ReceiveDataAsync(BinaryPrimitives.ReadUInt32BigEndian(header), flags, length, cancellationToken);
                    continue;
                }

                if (length > MaxControlBytes)
                {
                    throw new InvalidDataException($"a control frame of {length} bytes");
                }

                var payload = new byte[length];
                if (!await ReadAsync(payload, cancellationToken)
                    || !await ReceiveControlAsync(BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(2)), flags, payload, opened, cancellationToken))
                {
                    return;
                }
            }
        }
        catch (Exception e)
        {
            failure = e;
            throw;
        }
        finally
        {
            foreach (var stream in _streams.Values)
            {
                stream.Abort(failure is null ? null : new IOException("the client's connection broke", failure));
            }
        }
    }

    public void Dispose()
    {
        _headers.Dispose();
        _sending.Dispose();
    }

    public async Task SendDataAsync(uint id, ReadOnlyMemory<byte> data, bool finish, CancellationToken cancellationToken)
    {
        await _sending.WaitAsync(cancellationToken);
        try
        {
            BinaryPrimitives.WriteUInt32BigEndian(_send, id);
            BinaryPrimitives.WriteUInt32BigEndian(_send.AsSpan(4), (uint)data.Length);
            _send[4] = finish ? Finish : (byte)0;
            data.CopyTo(_send.AsMemory(HeaderBytes));
            await transport.WriteAsync(_send.AsMemory(0, HeaderBytes + data.Length), cancellationToken);
            await transport.FlushAsync(cancellationToken);
        }
        finally
        {
            _sending.Release();
        }
    }

    private async Task<bool> ReceiveControlAsync(
        ushort type,
        byte flags,
        byte[] payload,
        Func<SpdyStream, Task> opened,
        CancellationToken cancellationToken)
    {
        const int synStreamBytes = 10, idBytes = 4;
        switch (type)
        {
            case SynStream when payload.Length >= synStreamBytes:
                var id = BinaryPrimitives.ReadUInt32BigEndian(payload) & int.MaxValue;
                var stream = new SpdyStream(this, id, _headers.Read(payload.AsMemory(synStreamBytes)));
                if (!_streams.TryAdd(id, stream))
                {
                    throw new InvalidDataException($"stream {id} was opened twice");
                }

                await SendReplyAsync(id, cancellationToken);
                if ((flags & Finish) != 0)
                {
                    await stream.ReceiveAsync(default, finished: true, cancellationToken);
                }

                await opened(stream);
                return true;
            case ResetStream when payload.Length >= idBytes:
                if (_streams.TryRemove(BinaryPrimitives.ReadUInt32BigEndian(payload) & int.MaxValue, out var reset))
                {
                    reset.Abort(new IOException("the client reset the stream"));
                }

                return true;
            case Ping:
                await SendControlAsync(Ping, payload, cancellationToken);
                return true;
            case GoAway:
                return false;
            default:
                return true; // SETTINGS, HEADERS, WINDOW_UPDATE: nothing here depends on them.
        }
    }

    private async Task ReceiveDataAsync(uint id, byte flags, int length, CancellationToken cancellationToken)
    {
        _streams.TryGetValue(id, out var stream);
        var buffer = ArrayPool<byte>.Shared.Rent(MaxDataBytes);
        try
        {
            while (length > 0)
            {
                var part = buffer.AsMemory(0, Math.Min(length, MaxDataBytes));
                if (!await ReadAsync(part, cancellationToken))
                {
                    throw new EndOfStreamException("the client left within a frame");
                }

                length -= part.Length;
                if (stream is not null)
                {
                    await stream.ReceiveAsync(part, finished: false, cancellationToken);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        if ((flags & Finish) != 0 && stream is not null)
        {
            await stream.ReceiveAsync(default, finished: true, cancellationToken);
        }
    }

    /// <summary>Fills the buffer; false when the client left before its first byte.</summary>
    private async Task<bool> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken) =>
        buffer.Length == 0 || await transport.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken) == buffer.Length;

    /// <summary>A SYN_REPLY without headers.</summary>
    private Task SendReplyAsync(uint id, CancellationToken cancellationToken)
    {
        // Stored block of four zero bytes (no pairs), then an empty one. The first is preceded by a zlib header without a dictionary.
        ReadOnlySpan<byte> zlibHeader = [0x78, 0x01];
        ReadOnlySpan<byte> block = [0x00, 0x04, 0x00, 0xfb, 0xff, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0xff, 0xff];
        var payload = new byte[4 + (_replied ? 0 : zlibHeader.Length) + block.Length];
        BinaryPrimitives.WriteUInt32BigEndian(payload, id);
        var rest = payload.AsSpan(4);
        if (!_replied)
        {
            zlibHeader.CopyTo(rest);
            rest = rest[zlibHeader.Length..];
            _replied = true;
        }

        block.CopyTo(rest);
        return SendControlAsync(SynReply, payload, cancellationToken);
    }

    private async Task SendControlAsync(ushort type, byte[] payload, CancellationToken cancellationToken)
    {
        var frame = new byte[HeaderBytes + payload.Length];
        frame[0] = 0x80;
        frame[1] = 0x03;
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(2), type);
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(4), (uint)payload.Length);
        payload.CopyTo(frame.AsSpan(HeaderBytes));
        await _sending.WaitAsync(cancellationToken);
        try
        {
            await transport.WriteAsync(frame, cancellationToken);
            await transport.FlushAsync(cancellationToken);
        }
        finally
        {
            _sending.Release();
        }
    }
}
