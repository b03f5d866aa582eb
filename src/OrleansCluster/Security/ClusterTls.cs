using System.IO.Pipelines;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Connections;
using Orleans.Configuration;
using OrleansCluster.ApiServer;

namespace OrleansCluster.Security;

/// <summary>
/// Mutual TLS on Orleans' own connections, silo to silo and client to gateway: whoever has no certificate of the cluster's authority in the right group
/// cannot call a grain. Calls inside a process pass no connection and cost nothing more.
/// </summary>
internal static class ClusterTls
{
    /// <summary>Group of certificates that may call grains: silos and node agents. A kubectl user's certificate does not carry it.</summary>
    public const string MemberGroup = "orleanscluster:members";

    /// <summary>Secures a silo.</summary>
    public static ISiloBuilder UseClusterTls(this ISiloBuilder silo, ClusterPki pki, X509Certificate2 certificate) =>
        silo.Configure<SiloConnectionOptions>(options =>
        {
            options.ConfigureSiloInboundConnection(connection => connection.Use(next => context => AcceptAsync(context, next, pki, certificate)));
            options.ConfigureGatewayInboundConnection(connection => connection.Use(next => context => AcceptAsync(context, next, pki, certificate)));
            options.ConfigureSiloOutboundConnection(connection => connection.Use(next => context => ConnectAsync(context, next, pki, certificate)));
        });

    /// <summary>Secures a client.</summary>
    public static IClientBuilder UseClusterTls(this IClientBuilder client, ClusterPki pki, X509Certificate2 certificate) =>
        client.Configure<ClientConnectionOptions>(options =>
            options.ConfigureConnection(connection => connection.Use(next => context => ConnectAsync(context, next, pki, certificate))));

    private static Task AcceptAsync(ConnectionContext context, ConnectionDelegate next, ClusterPki pki, X509Certificate2 certificate) =>
        RunAsync(context, next, (stream, token) => stream.AuthenticateAsServerAsync(
            new SslServerAuthenticationOptions
            {
                ServerCertificate = certificate,
                ClientCertificateRequired = true,
                RemoteCertificateValidationCallback = (_, peer, _, _) => IsMember(peer, pki),
            },
            token));

    private static Task ConnectAsync(ConnectionContext context, ConnectionDelegate next, ClusterPki pki, X509Certificate2 certificate) =>
        RunAsync(context, next, (stream, token) => stream.AuthenticateAsClientAsync(
            new SslClientAuthenticationOptions
            {
                TargetHost = "orleanscluster",
                ClientCertificates = [certificate],
                // Members are told by their group, not by a host name: silos come and go under any address.
                RemoteCertificateValidationCallback = (_, peer, _, _) => IsMember(peer, pki),
            },
            token));

    private static async Task RunAsync(ConnectionContext context, ConnectionDelegate next, Func<SslStream, CancellationToken, Task> handshake)
    {
        var plain = context.Transport;
        await using var stream = new SslStream(new DuplexPipeStream(plain), leaveInnerStreamOpen: true);
        await handshake(stream, context.ConnectionClosed);
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

    private static bool IsMember(X509Certificate? peer, ClusterPki pki) =>
        peer is X509Certificate2 certificate && pki.Issued(certificate)
        && certificate.SubjectName.EnumerateRelativeDistinguishedNames().Any(name =>
            !name.HasMultipleElements && name.GetSingleElementType().Value == "2.5.4.10" && name.GetSingleElementValue() == MemberGroup);

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
