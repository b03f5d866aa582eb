using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace OrleansCluster.ApiServer;

/// <summary>Writes kubeconfig files: everything a client needs to reach the cluster, in one file readable by its owner only.</summary>
public static class KubeconfigWriter
{
    /// <summary>Writes a kubeconfig for a client certificate.</summary>
    /// <param name="path">The file; replaced whole.</param>
    /// <param name="server">URL of the API, e.g. `https://127.0.0.1:6443`.</param>
    /// <param name="authorityPem">The cluster's authority.</param>
    /// <param name="client">Client certificate with its ECDSA key.</param>
    /// <param name="clusterName">Name of cluster and context.</param>
    public static void Write(string path, Uri server, string authorityPem, X509Certificate2 client, string clusterName = "orleanscluster")
    {
        using var key = client.GetECDsaPrivateKey() ?? throw new CryptographicException("The client certificate has no ECDSA key.");
        var user = client.GetNameInfo(X509NameType.SimpleName, forIssuer: false);
        PrivateFile.Write(
            path,
            $"""
            apiVersion: v1
            kind: Config
            clusters:
            - name: {clusterName}
              cluster:
                server: {server.GetLeftPart(UriPartial.Authority)}
                certificate-authority-data: {Encode(authorityPem)}
            users:
            - name: {user}
              user:
                client-certificate-data: {Encode(client.ExportCertificatePem() + "\n")}
                client-key-data: {Encode(key.ExportPkcs8PrivateKeyPem() + "\n")}
            contexts:
            - name: {clusterName}
              context:
                cluster: {clusterName}
                user: {user}
            current-context: {clusterName}
            preferences: {"{}"}

            """,
            UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private static string Encode(string pem) => Convert.ToBase64String(Encoding.UTF8.GetBytes(pem));
}
