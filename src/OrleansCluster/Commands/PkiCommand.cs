using System.CommandLine;
using OrleansCluster.ApiServer;
using OrleansCluster.Client;
using OrleansCluster.Client.Security;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster pki init`: the cluster's authority and its operator's certificates, made once.</summary>
internal static class PkiCommand
{
    public static Command Create()
    {
        var data = RoleOptions.Data("Folder in which pki/ is made.");
        var init = new Command("init", "Make the cluster's certificate authority and its operator's certificates, if they are not there.") { data };
        init.SetAction(parsed =>
        {
            try
            {
                var folder = Path.Combine(parsed.GetRequiredValue(data).FullName, "pki");
                using var pki = ClusterPki.Open(folder, TimeProvider.System);
                pki.AdminCertificate();
                pki.ClientCertificate(ClusterClientOptions.CertificateName, MemberCertificates.Group);
                Console.WriteLine(folder);
                return 0;
            }
            catch (Exception error) when (StartFailure.Explain(error) is { } explanation)
            {
                Console.Error.WriteLine(explanation);
                return 1;
            }
        });
        return new Command("pki", "Certificates of a cluster.") { init };
    }
}
