using System.IO.Pipelines;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Connections;

namespace OrleansCluster.Client.Security;

/// <summary>
/// Mutual TLS on Orleans' own connections, silo to silo and client to gateway: whoever has no certificate of the cluster's authority in the right group
/// cannot call a grain. Calls inside a process pass no connection and cost nothing more.
/// </summary>
/// <param name="authority">The cluster's authority.</param>
/// <param name="own">This member's certificate with its key.</param>
/// <param name="time">Clock of the certificates' validity.</param>
internal sealed class MemberCertificates(X509Certificate2 authority, X509Certificate2 own, TimeProvider time)
{
    /// <summary>Group (O) of certificates that may call grains: silos, node agents and programs on the SDK. A kubectl user's certificate does not carry it.</summary>
    public const string Group = "orleanscluster:members";

    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

    private const string OrganizationOid = "2.5.4.10";

    /// <summary>Secures a connection that this member accepts, for as long as <paramref name="next"/> uses it.</summary>
    public Task AcceptAsync(ConnectionContext context, ConnectionDelegate next) =>
        RunAsync(context, next, (stream, token) => stream.AuthenticateAsServerAsync(
            new SslServerAuthenticationOptions
            {
                ServerCertificate = own,
                ClientCertificateRequired = true,
                RemoteCertificateValidationCallback = (_, peer, _, _) => IsMember(peer),
            },
            token));

    /// <summary>Secures a connection that this member opens.</summary>
    public Task ConnectAsync(ConnectionContext context, ConnectionDelegate next) =>
        RunAsync(context, next, (stream, token) => stream.AuthenticateAsClientAsync(
            new SslClientAuthenticationOptions
            {
                TargetHost = "orleanscluster",
                ClientCertificates = [own],
                // Members are told by their group, not by a host name: silos come and go under any address.
                RemoteCertificateValidationCallback = (_, peer, _, _) => IsMember(peer),
            },
            token));

    /// <summary>True for a valid certificate of the authority in the members' group.</summary>
    public bool IsMember(X509Certificate? peer) =>
        peer is X509Certificate2 certificate && IsIssued(certificate)
        && certificate.SubjectName.EnumerateRelativeDistinguishedNames().Any(name =>
            !name.HasMultipleElements && name.GetSingleElementType().Value == OrganizationOid && name.GetSingleElementValue() == Group);

    private bool IsIssued(X509Certificate2 certificate)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(authority);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.VerificationTime = time.GetUtcNow().UtcDateTime;
        return chain.Build(certificate);
    }

    private async Task RunAsync(ConnectionContext context, ConnectionDelegate next, Func<SslStream, CancellationToken, Task> handshake)
    {
        var plain = context.Transport;
        await using var stream = new SslStream(new DuplexPipeStream(plain), leaveInnerStreamOpen: true);
        // Whoever opens a connection and says nothing does not keep it.
        using (var timer = new CancellationTokenSource(HandshakeTimeout, time))
        using (var limit = CancellationTokenSource.CreateLinkedTokenSource(context.ConnectionClosed, timer.Token))
        {
            await handshake(stream, limit.Token);
        }
        context.Transport = new DuplexPipe(
            PipeReader.Create(stream, new StreamPipeReaderOptions(leaveOpen: true)),
            PipeWriter.Create(stream, new StreamPipeWriterOptions(leaveOpen: true)));
        try
        {
            await next(context);
        }
        finally
        {
            context.Transport = plain;
        }
    }

    private sealed record DuplexPipe(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    /// <summary>The two pipes of a connection as the one stream that SslStream wants.</summary>
    private sealed class DuplexPipeStream(IDuplexPipe pipe) : Stream
    {
        private readonly Stream _input = pipe.Input.AsStream(leaveOpen: true);
        private readonly Stream _output = pipe.Output.AsStream(leaveOpen: true);

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _input.ReadAsync(buffer, cancellationToken);

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => _output.WriteAsync(buffer, cancellationToken);

        public override Task FlushAsync(CancellationToken cancellationToken) => _output.FlushAsync(cancellationToken);

        public override void Flush()
        {
            // Written through to a pipe that flushes itself; SslStream flushes asynchronously.
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("Only asynchronous reads.");

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("Only asynchronous writes.");

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
